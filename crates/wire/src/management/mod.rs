//! RunPod's management API (REST v2) as serde types: serverless endpoints, their workers and
//! releases, the catalog, billing, problem bodies and rate-limit headers.
//!
//! The field names and bounds follow RunPod's published OpenAPI document (version 2.0.0). Requests refuse
//! unknown fields, as the API does (422); responses accept them, so a newer cloud does not break an
//! older client. Nothing here knows how a call is carried or answered.

pub mod billing;
pub mod catalog;
pub mod endpoint;
pub mod limits;
pub mod problem;
pub mod release;
pub mod worker;

/// Path of the collection of serverless endpoints; the base URL already ends in `/v2`.
pub const SERVERLESS_PATH: &str = "/serverless";
/// Path of the GPU catalog, below a base URL that ends in `/v2`.
pub const CATALOG_GPUS_PATH: &str = "/catalog/gpus";
/// Path of the serverless billing records, below a base URL that ends in `/v2`.
pub const BILLING_SERVERLESS_PATH: &str = "/billing/serverless";
