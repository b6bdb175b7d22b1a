//! Releases of a serverless endpoint: versions of its configuration and how far they are rolled out.

use serde::{Deserialize, Serialize};

/// What made a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseSource {
    /// A build from a repository.
    #[serde(rename = "GIT_BUILD")]
    GitBuild,
    /// A change of the configuration.
    #[serde(rename = "MANUAL")]
    Manual,
}

/// One changed field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDiff {
    /// Name of the field (`template.imageName`).
    pub field: String,
    /// Value before; null when the field was added.
    pub old: serde_json::Value,
    /// Value after; null when the field was removed.
    pub new: serde_json::Value,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Id.
    pub id: String,
    /// Version of the configuration that it made.
    #[serde(default)]
    pub version: Option<u64>,
    /// What made it.
    pub source: ReleaseSource,
    /// Build, for a release from a repository.
    #[serde(default)]
    pub build_id: Option<String>,
    /// User who made it.
    #[serde(default)]
    pub created_by_user_id: Option<String>,
    /// Workers that run this version now.
    pub worker_count: u32,
    /// Creation, RFC 3339.
    pub created_at: String,
    /// Changed fields.
    pub diff: Vec<ReleaseDiff>,
}

/// How far the latest release has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Some worker still runs an older version.
    pub in_progress: bool,
    /// Workers on the latest version.
    pub workers_on_latest: u32,
    /// All workers.
    pub workers_total: u32,
    /// 0 to 100.
    pub percent_on_latest: u32,
}

/// Answer of `GET /serverless/{id}/releases`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseList {
    /// Current version.
    #[serde(default)]
    pub endpoint_version: Option<u64>,
    /// Roll-out of the latest release.
    pub rollout: Rollout,
    /// Releases, latest first.
    pub releases: Vec<Release>,
}
