//! `/api/v1/jobs/{job}/{payload}`: a job's input and output, whole, as a preview, or one picture of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::error::{ApiError, shown};
use crate::view::preview::{self, Preview};

/// GET `input` or `output`: its JSON as it is; with `?preview`, what of it can be shown; with
/// `?media=POINTER`, the picture, sound or film there.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let id = call.job_id(0)?;
    let unavailable = |Unavailable| ApiError::unavailable();
    let job = gateway.engine().job(id).await.map_err(unavailable)?;
    let job = job.ok_or_else(job_not_found)?;
    let directory = gateway.engine().endpoints();
    let name = directory.get(job.endpoint).map_or("", |entry| &entry.name);
    if call.caller.as_ref().is_some_and(|c| !c.sees(name)) {
        return Err(job_not_found());
    }
    let payload = match call.params[1].as_str() {
        "output" => job.output,
        "input" => gateway.engine().input(id).await.map_err(unavailable)?,
        other => {
            let message = format!("a job has no `{}`", shown(other));
            return Err(ApiError::not_found("payload_not_found", message).hint("input or output"));
        }
    };
    let Some(payload) = payload else {
        let message = format!("the job has no {} now", call.params[1]);
        return Err(ApiError::not_found("payload_missing", message)
            .hint("an output is there once the job is completed, and until it expires"));
    };
    if let Some(pointer) = call.query.get("media") {
        return medium(payload, pointer.to_owned()).await;
    }
    if call.query.get("preview").is_some() {
        // Looking into megabytes takes a while.
        let preview = tokio::task::spawn_blocking(move || Preview::of(&payload)).await;
        let preview = preview.map_err(|_| ApiError::unavailable())?;
        return Ok(body::json_of(&json!(preview)));
    }
    let mut reply = body::json(payload);
    // It is somebody else's text: a browser that opens it by itself keeps it as a file.
    reply.headers_mut().insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"payload.json\""),
    );
    Ok(reply)
}

async fn medium(payload: Bytes, pointer: String) -> Result<Reply, ApiError> {
    let found = tokio::task::spawn_blocking(move || {
        if payload.len() > preview::PAYLOAD_BYTES_MAX {
            return None;
        }
        preview::medium(&payload, &pointer)
    });
    let found = found.await.map_err(|_| ApiError::unavailable())?;
    let Some((media_type, bytes)) = found else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "medium_not_found",
            "there is no picture, sound or film at this place of the payload",
        )
        .field("media")
        .hint("the preview lists those that there are, each with its JSON pointer"));
    };
    let mut reply = Reply::new(Body::from(bytes));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    Ok(reply)
}
