//! An endpoint: the named place jobs are sent to. What is durable of it, and what is live.

use serde::{Deserialize, Serialize};

use crate::id::EndpointId;
use crate::time::Timestamp;
use crate::topology::Limits;

/// What is durable of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Its number, for ever.
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// A live change of its limits, which wins until the file's value changes.
    pub limits_override: Option<LimitsOverride>,
}

/// Limits set while the server ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsOverride {
    /// What was set.
    pub limits: Limits,
    /// What the file said then.
    pub file: Limits,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}
