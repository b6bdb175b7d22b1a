//! Puts the built dashboard into the binary: a table of the files of `dashboard/dist`, each with its
//! compressed twin. Without a built dashboard the table is empty, and the server says how to build it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let out = env::var_os("OUT_DIR").map(PathBuf::from);
    let (Some(manifest), Some(out)) = (manifest, out) else {
        return Err(io::Error::other(
            "cargo sets the variables of a build script",
        ));
    };
    let dist = manifest.join("../../dashboard/dist");
    // Cargo runs this again whenever a watched path is missing, and with it compiles everything;
    // an empty folder (ignored by git) is there to be watched. Where it cannot be made, so be it.
    let _ = fs::create_dir_all(&dist);
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut names = Vec::new();
    if dist.join("index.html").is_file() {
        list(&dist, "", &mut names)?;
    } else {
        println!("cargo::warning=the dashboard is not built: `cargo xtask dashboard` builds it");
    }
    names.sort();
    let mut table = String::from("&[\n");
    for name in names.iter().filter(|name| !name.ends_with(".gz")) {
        let path = dist.join(name);
        let packed = dist.join(format!("{name}.gz"));
        let packed = if packed.is_file() {
            format!("Some(include_bytes!({:?}))", packed.canonicalize()?)
        } else {
            "None".to_owned()
        };
        let plain = path.canonicalize()?;
        writeln!(
            table,
            "    File {{ name: {name:?}, plain: include_bytes!({plain:?}), gzip: {packed} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(out.join("dashboard_files.rs"), table)
}

/// Names of all files below `folder`, with `/` between folders.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
