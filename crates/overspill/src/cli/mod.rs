//! The command line: one file per command, and what they share.
//!
//! A command reads its arguments, asks the configuration, the server or the machine, and prints.
//! Data goes to stdout (`--json`: one JSON object), everything else to stderr. Commands that talk
//! to a server know its HTTP interface only ([`client`]); none opens the store or links the engine,
//! but for those that run a server themselves, and those that look after the database's files ([`db`],
//! [`backup`]).

mod account;
pub mod apply;
pub mod backup;
pub mod budget;
pub mod cancel;
pub mod check;
pub mod client;
pub mod completions;
pub mod config;
pub mod cost;
pub mod db;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod emulate;
pub mod error;
pub mod gpus;
pub mod guard;
pub mod init;
pub mod jobs;
pub mod keys;
pub mod man;
mod misfortunes;
pub mod output;
pub mod paint;
pub mod plan;
pub mod purge;
pub mod reap;
pub mod retry;
pub mod run;
pub mod scale;
pub mod serve;
pub mod simulate;
pub mod status;
pub mod top;
pub mod version;
pub mod webhooks;
pub mod why;
pub mod world;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub use client::ServerClient;
pub use error::{CommandError, ErrorKind};
pub use output::Output;

use crate::config::{Environment, Flags, Loaded, Strictness, load, locate};

/// Runs AI jobs on your own GPUs first, and only the overspill on RunPod.
#[derive(Debug, Parser)]
#[command(
    name = "overspill",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    infer_long_args = false,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 auth, 5 budget or quota, \
                  69 unavailable, 74 I/O, 78 configuration, 124 wait timed out, 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Arguments that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Configuration file [default: overspill.toml here, in the user's or the system's folder]
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "FILE",
        env = "OVERSPILL_CONFIG",
        hide_env = true
    )]
    pub config: Option<PathBuf>,
    /// Address of the server [default: OVERSPILL_URL, else `listen` of the configuration]
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "URL",
        env = "OVERSPILL_URL",
        hide_env = true
    )]
    pub server: Option<String>,
    /// Print one JSON object on stdout
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
}

/// Every command, in the order of the help.
#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Jobs(jobs::JobsArgs),
    Cancel(cancel::CancelArgs),
    Retry(retry::RetryArgs),
    Purge(purge::PurgeArgs),
    Scale(scale::ScaleArgs),
    Top(top::TopArgs),
    Why(why::WhyArgs),
    Doctor(doctor::DoctorArgs),
    Cost(cost::CostArgs),
    Budget(budget::BudgetArgs),
    Gpus(gpus::GpusArgs),
    Plan(plan::PlanArgs),
    Simulate(simulate::SimulateArgs),
    Apply(apply::ApplyArgs),
    Reap(reap::ReapArgs),
    Guard(guard::GuardArgs),
    Keys(keys::KeysArgs),
    Webhooks(webhooks::WebhooksArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Db(db::DbArgs),
    Serve(serve::ServeArgs),
    Emulate(emulate::EmulateArgs),
    Demo(demo::DemoArgs),
    Drill(drill::DrillArgs),
    /// What the keeper starts
    #[command(hide = true)]
    Serving(serve::ServeArgs),
    Version(version::VersionArgs),
}

/// What a command is handed beside its own arguments.
#[derive(Debug)]
pub struct Context {
    /// The arguments that every command takes.
    pub global: GlobalArgs,
    /// The environment at start.
    pub environment: Environment,
    /// Where results go.
    pub output: Output,
}

impl Context {
    /// The configuration that `--config`, the variable or the usual places give.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or it is refused.
    pub fn load_config(
        &self,
        flags: &Flags,
        strictness: Strictness,
    ) -> Result<(PathBuf, Loaded), CommandError> {
        let path = locate(self.global.config.as_deref(), &self.environment)?;
        let loaded = load(&path, &self.environment, flags, strictness)?;
        Ok((path, loaded))
    }

    /// A client of the server that the arguments, the environment or the configuration name.
    ///
    /// # Errors
    /// When the address or the key file is unusable.
    pub fn client(&self) -> Result<ServerClient, CommandError> {
        ServerClient::find(self)
    }
}

/// Parses the process's arguments, runs the command, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    main_with(std::env::args_os(), Environment::of_process())
}

/// The same with given arguments and environment.
#[must_use]
pub fn main_with(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment,
) -> ExitCode {
    // The HTTP client cannot be built without a provider; a second installation is no fault.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version count as errors here, with exit code 0.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let output = Output::new(cli.global.json, &environment);
    let context = Context {
        global: cli.global,
        environment,
        output,
    };
    match dispatch(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report(context.output.has_color());
            error.kind().exit_code().into()
        }
    }
}

/// The whole command line as clap sees it, for completions, man pages and the reference.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(command: Command, context: &Context) -> Result<(), CommandError> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Run(args) => block_on(run::run(&args, context)),
        Command::Status(args) => block_on(status::run(&args, context)),
        Command::Jobs(args) => block_on(jobs::run(&args, context)),
        Command::Cancel(args) => block_on(cancel::run(&args, context)),
        Command::Retry(args) => block_on(retry::run(&args, context)),
        Command::Purge(args) => block_on(purge::run(&args, context)),
        Command::Doctor(args) => block_on(doctor::run(&args, context)),
        Command::Budget(args) => block_on(budget::run(&args, context)),
        Command::Cost(args) => block_on(cost::run(&args, context)),
        Command::Top(args) => block_on(top::run(&args, context)),
        Command::Why(args) => block_on(why::run(&args, context)),
        Command::Scale(args) => block_on(scale::run(&args, context)),
        Command::Gpus(args) => block_on(gpus::run(&args, context)),
        Command::Plan(args) => plan::run(&args, context),
        Command::Simulate(args) => simulate::run(&args, context),
        Command::Apply(args) => block_on(apply::run(&args, context)),
        Command::Reap(args) => block_on(reap::run(&args, context)),
        Command::Guard(args) => block_on(guard::run(&args, context)),
        Command::Keys(args) => block_on(keys::run(&args, context)),
        Command::Webhooks(args) => block_on(webhooks::run(&args, context)),
        Command::Config(args) => config::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
        Command::Backup(args) => backup::backup(&args, context),
        Command::Restore(args) => backup::restore(&args, context),
        Command::Db(args) => db::run(&args, context),
        Command::Serve(args) => crate::serving::process::keep(&args, context),
        Command::Emulate(args) => block_on(emulate::run(&args, context)),
        Command::Demo(args) => crate::demo::run(&args, context),
        Command::Drill(args) => crate::drill::run(&args, context),
        Command::Serving(args) => crate::serving::process::serve(&args, context),
        Command::Version(args) => version::run(&args, context),
    }
}

/// Runs a client command to its end on this thread.
fn block_on(command: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    block_on_value(command)
}

/// The same, for what gives a value.
fn block_on_value<T>(
    command: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CommandError::new(ErrorKind::Io, "cannot start the runtime").because(error)
        })?
        .block_on(command)
}
