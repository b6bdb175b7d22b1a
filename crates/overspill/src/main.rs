//! The `overspill` program.

fn main() -> std::process::ExitCode {
    if let Some(code) = overspill::keeper::dispatch(std::env::args_os()) {
        return std::process::ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    std::process::ExitCode::SUCCESS
}
