//! The older management APIs that official tools still call: REST v1 (retired on 2026-11-15) and GraphQL.
//!
//! Both speak of the same things in the same words (`workersMin`, `gpuIds`, `templateId`), so both read their input as a JSON
//! object and answer with one; only the envelope differs.

mod endpoint;
mod graphql;
mod literal;
mod rest;
mod template;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::state::Shared;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/graphql", post(graphql::answer))
        .route(
            "/v1/endpoints",
            get(rest::list_endpoints).post(rest::create_endpoint),
        )
        .route(
            "/v1/endpoints/{id}",
            get(rest::get_endpoint)
                .patch(rest::update_endpoint)
                .delete(rest::delete_endpoint),
        )
        .route("/v1/endpoints/{id}/update", post(rest::update_endpoint))
        .route(
            "/v1/templates",
            get(rest::list_templates).post(rest::create_template),
        )
        .route(
            "/v1/templates/{id}",
            get(rest::get_template)
                .patch(rest::update_template)
                .delete(rest::delete_template),
        )
        .route("/v1/templates/{id}/update", post(rest::update_template))
        .route("/v1/billing/endpoints", get(rest::billing))
        // Nothing of these exists in a cloud of serverless endpoints; tools list them all the same.
        .route("/v1/pods", get(rest::nothing))
        .route("/v1/networkvolumes", get(rest::nothing))
        .route("/v1/containerregistryauth", get(rest::nothing))
}
