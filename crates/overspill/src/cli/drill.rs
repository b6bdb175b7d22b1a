//! Arguments of `overspill drill`. What it does is put together elsewhere.

use clap::Args;

/// Practise the outage of a region against the emulated cloud, and print what happened
///
/// Starts its own server and its own emulated cloud, submits jobs of callers in every region, takes
/// the region's hosts down with all that runs on them, and brings them back. With `--config` the
/// endpoint has the shape of yours: its pools, regions, limits, prices and residency. Nothing is sent
/// to RunPod, and your server is not touched. Exit code 1 if a job was lost.
#[derive(Debug, Clone, Args)]
pub struct DrillArgs {
    /// The region that goes down
    #[arg(long, value_name = "REGION")]
    pub region: String,
    /// Which endpoint of the configuration; left out: the first with a pool in the region
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
    /// How long the region is down
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    pub seconds: u64,
    /// Seed of the emulated cloud
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}
