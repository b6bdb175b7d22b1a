//! Billing records of serverless endpoints and of the whole account, in half-open UTC buckets.

use serde::{Deserialize, Serialize};

/// Length of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BucketSize {
    /// One hour.
    Hour,
    /// One day; the default.
    #[default]
    Day,
    /// One week, from Monday.
    Week,
    /// One calendar month.
    Month,
    /// One calendar year.
    Year,
}

/// Amounts of serverless endpoints in USD.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerlessAmounts {
    /// Sum.
    pub total_amount: f64,
    /// GPU time.
    pub gpu_amount: f64,
    /// CPU time.
    pub cpu_amount: f64,
    /// Container disks.
    pub disk_amount: f64,
    /// Fees.
    pub fee_amount: f64,
}

/// One bucket of one serverless endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerlessRecord {
    /// Start of the bucket, RFC 3339.
    pub start_time: String,
    /// End of the bucket, RFC 3339, exclusive.
    pub end_time: String,
    /// Endpoint.
    pub serverless_id: String,
    /// Amounts.
    #[serde(flatten)]
    pub amounts: ServerlessAmounts,
}

/// What was asked, after defaults and alignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillingQuery {
    /// Start, RFC 3339.
    pub start_time: String,
    /// End, RFC 3339, exclusive.
    pub end_time: String,
    /// Length of a bucket.
    pub bucket_size: BucketSize,
    /// The one endpoint asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serverless_id: Option<String>,
}

/// What stands beside the records of serverless endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerlessMetadata {
    /// The query.
    pub query: BillingQuery,
    /// Number of records.
    pub record_count: u64,
    /// Number of different endpoints.
    pub unique_serverless_count: u64,
    /// Sums.
    pub totals: ServerlessAmounts,
}

/// Answer of `GET /billing/serverless`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerlessBilling {
    /// One per endpoint and bucket.
    pub records: Vec<ServerlessRecord>,
    /// Query and sums.
    pub metadata: ServerlessMetadata,
}

/// Amounts of the whole account in USD.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each field is what its name says, in USD")]
pub struct AccountAmounts {
    pub total_amount: f64,
    pub pod_gpu_amount: f64,
    pub pod_cpu_amount: f64,
    pub pod_disk_amount: f64,
    pub serverless_gpu_amount: f64,
    pub serverless_cpu_amount: f64,
    pub serverless_disk_amount: f64,
    pub serverless_fee_amount: f64,
    pub storage_standard_amount: f64,
    pub storage_high_performance_amount: f64,
    pub endpoint_amount: f64,
    pub cluster_gpu_amount: f64,
    pub cluster_disk_amount: f64,
    pub cluster_networking_amount: f64,
}

/// One bucket of the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRecord {
    /// Start of the bucket, RFC 3339.
    pub start_time: String,
    /// End of the bucket, RFC 3339, exclusive.
    pub end_time: String,
    /// Amounts.
    #[serde(flatten)]
    pub amounts: AccountAmounts,
}

/// What stands beside the records of the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountMetadata {
    /// The query.
    pub query: BillingQuery,
    /// Number of records.
    pub record_count: u64,
    /// Sums.
    pub totals: AccountAmounts,
}

/// Answer of `GET /billing`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountBilling {
    /// One per bucket.
    pub records: Vec<AccountRecord>,
    /// Query and sums.
    pub metadata: AccountMetadata,
}
