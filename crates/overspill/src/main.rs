//! The `overspill` program: everything is in the library, so that tests and tasks reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = overspill::keeper::dispatch(std::env::args_os()) {
        overspill::telemetry::flush();
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == overspill::demo::sample_worker::SUBCOMMAND)
    {
        return ExitCode::from(u8::try_from(overspill::demo::sample_worker::run()).unwrap_or(1));
    }
    let code = overspill::cli::main();
    overspill::telemetry::flush();
    code
}
