//! Arguments of `overspill demo`. What it shows is put together elsewhere.

use clap::{Args, ValueEnum};

/// Try everything at once on this machine: server, emulated cloud, sample workers, load
///
/// Needs no account, no GPU, no Python. Exit code 0 only if every job finished and the cloud is
/// back at zero workers.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How long jobs are submitted
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub seconds: u64,
    /// How much is submitted
    #[arg(long, value_enum, default_value_t = DemoLoad::Normal)]
    pub load: DemoLoad,
    /// Seed of the load and of the emulated cloud
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep everything up after the report, until interrupted, to look around in the dashboard
    #[arg(long)]
    pub keep: bool,
}

/// How much the demo submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoLoad {
    /// A burst that local workers cannot carry alone
    Normal,
    /// What the local workers carry alone
    Low,
}
