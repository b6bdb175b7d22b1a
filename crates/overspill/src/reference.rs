//! The reference pages of `docs/reference/`, made from the declarations of the command line, the
//! configuration and the variables, so that they cannot say anything else than the program does.
//!
//! A test compares them with the files and fails when one is stale.

use crate::config::env::DOCUMENTED;
use crate::config::{AT_START, KeyDoc, key_docs};

/// One page: its file name in `docs/reference/`, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// File name, such as `configuration.md`.
    pub file: &'static str,
    /// The whole text.
    pub text: String,
}

/// Every page.
#[must_use]
pub fn pages() -> Vec<Page> {
    vec![
        Page {
            file: "cli.md",
            text: command_line(),
        },
        Page {
            file: "configuration.md",
            text: configuration(),
        },
        Page {
            file: "environment.md",
            text: environment(),
        },
    ]
}

const MADE: &str = "<!-- Made from the source by `cargo test -p overspill reference` with \
                    OVERSPILL_WRITE_REFERENCE=1; edit the source. -->\n";

fn command_line() -> String {
    let mut text = format!("{MADE}\n# Command line\n");
    let mut root = crate::cli::command().term_width(98);
    root.build();
    write_command(&mut text, &root, 2);
    text
}

fn write_command(text: &mut String, command: &clap::Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let help = command
        .clone()
        .term_width(98)
        .render_long_help()
        .to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n{} {name}\n\n```text\n", "#".repeat(level)));
    text.push_str(help.join("\n").trim_end());
    text.push_str("\n```\n");
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help" && !below.is_hide_set())
    {
        write_command(text, below, level + 1);
    }
}

fn configuration() -> String {
    let mut text = format!(
        "{MADE}\n# Configuration\n\nOne TOML file: `--config`, else `OVERSPILL_CONFIG`, else \
         `overspill.toml` in the current\nfolder, `~/.config/overspill/` or `/etc/overspill/`. \
         Unknown keys are refused. Durations are\nwritten `\"90s\"`, `\"10m\"`, `\"24h\"`; money \
         `\"$1.32\"`, prices `\"$0.44/h\"`; sizes `\"12GB\"`. In every\ntext `${{VAR}}` is replaced \
         by the variable, `${{VAR:-text}}` falls back, `$${{` is a literal `${{`.\n\
         Variables override keys: see [environment](environment.md).\n\nSIGHUP has the file read \
         again. All of it is in force at once but for {}:\nthose act once Overspill is started again. A \
         file with the first cloud pool is not put in force before that. The log says so.\n",
        AT_START.map(|key| format!("`{key}`")).join(", "),
    );
    write_keys(&mut text, "", &key_docs());
    text
}

/// Writes the plain keys of a table, then the tables below it.
fn write_keys(text: &mut String, path: &str, keys: &[KeyDoc]) {
    text.push_str("\n| key | values | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = match (&key.default, key.is_required) {
            (_, true) => "required".to_owned(),
            _ if key.keys.is_some() => "see below".to_owned(),
            (None, _) => "none".to_owned(),
            (Some(default), _) if default == "\"\"" => "none".to_owned(),
            (Some(default), _) => format!("`{default}`"),
        };
        let row = [
            format!("`{}`", key.key),
            key.kind.clone(),
            default,
            key.doc.clone(),
        ];
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    for key in keys {
        let Some(below) = &key.keys else { continue };
        let path = if path.is_empty() {
            key.key.to_owned()
        } else {
            format!("{path}.{}", key.key)
        };
        let heading = if key.kind.starts_with("list of") {
            format!("[[{path}]]")
        } else {
            format!("[{path}]")
        };
        let level = "#".repeat(path.split('.').count().min(4) + 1);
        text.push_str(&format!("\n{level} `{heading}`\n\n{}\n", key.doc));
        write_keys(text, &path, below);
    }
}

fn environment() -> String {
    let mut text = format!(
        "{MADE}\n# Environment\n\nFlags go before variables, variables before the configuration \
         file.\n\n| variable | meaning |\n| --- | --- |\n"
    );
    for variable in DOCUMENTED {
        text.push_str(&format!(
            "| `{}` | {} |\n",
            variable.name,
            variable.doc.replace('|', "\\|")
        ));
    }
    text
}
