//! The one test program of this crate; each module is one behaviour of the built binary or of the
//! assembled library.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing unwrap is a failing test; one that skips a part of itself says so"
)]

mod board;
mod cli_check;
mod cli_client;
mod cli_db;
mod cli_help;
mod cli_simulate;
mod cloud_hook;
mod cloud_pool;
#[path = "../../emulator/tests/emulator/contract.rs"]
mod contract;
mod data_plane_contract;
#[path = "../../emulator/tests/emulator/document.rs"]
mod document;
mod journal;
mod keeper;
mod kept;
mod management_document;
mod money;
mod reference;
mod serving;
mod support;
mod webhooks;

/// A file that nobody lists here would never run.
#[test]
fn every_file_is_listed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let listed = include_str!("main.rs");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name != "main" && name != "snapshots" {
            assert!(
                listed.contains(&format!("mod {name};")),
                "tests/main.rs lacks `mod {name};`"
            );
        }
    }
}
