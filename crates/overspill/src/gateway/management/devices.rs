//! `/api/v1/devices/…`: a quarantined card is returned by hand.

use std::sync::Arc;

use http::StatusCode;
use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::id::DeviceId;
use serde_json::json;

use super::board::board;
use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};

/// POST `{device}/return`: by its number here or its driver's id, it takes jobs again at once.
pub(crate) async fn give_back(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let named = &call.params[0];
    let cards = board(gateway, &call)?.devices().await;
    let cards = cards.map_err(|Unavailable| ApiError::unavailable())?;
    let is_it = |(id, uuid): &&(DeviceId, Option<String>)| {
        id.to_string() == *named || uuid.as_ref() == Some(named)
    };
    let not_found = || {
        let message = format!("no pool uses a card `{}`", shown(named));
        ApiError::not_found("device_not_found", message)
            .hint("its number as in `devices` of /api/v1/overview, or its UUID as `overspill gpus` shows it")
    };
    let (device, _) = *cards.iter().find(is_it).ok_or_else(not_found)?;
    let by = call.by();
    let ask = move |request| Event::CardReturnAsked {
        request,
        device,
        by,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::CardReturned { device } => Ok(body::json_of(
            &json!({ "device": device.0, "quarantine": null }),
        )),
        Answer::CardNotQuarantined { device } => Err(ApiError::new(
            StatusCode::CONFLICT,
            "device_not_quarantined",
            format!("card {device} is not quarantined"),
        )),
        Answer::NotFound => Err(not_found()),
        _ => Err(ApiError::unavailable()),
    }
}
