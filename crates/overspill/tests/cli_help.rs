//! What the command line says of itself, and how it refuses nonsense.

use super::support::Machine;

#[test]
fn help_of_every_command() {
    let machine = Machine::new();
    let mut text = machine.run(&["--help"]).to_string();
    for command in overspill::cli::command()
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
    {
        let name = command.get_name();
        text.push_str(&format!(
            "\n=== {name}\n{}",
            machine.run(&[name, "--help"]).stdout
        ));
        for below in command.get_subcommands() {
            let below = below.get_name();
            text.push_str(&format!(
                "\n=== {name} {below}\n{}",
                machine.run(&[name, below, "--help"]).stdout
            ));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    overspill::cli::command().debug_assert();
}

#[test]
fn nonsense_is_usage_with_a_suggestion() {
    let machine = Machine::new();
    for arguments in [
        &["--versoin"][..],
        &["chekc"],
        &["status", "--jsno"],
        &["scale"],
        &["keys"],
        &[],
        &["run", "tts"],
    ] {
        let ran = machine.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}\n{ran}");
        assert!(ran.stdout.is_empty(), "{ran}");
    }
    assert!(machine.run(&["--versoin"]).stderr.contains("--version"));
    assert!(machine.run(&["chekc"]).stderr.contains("check"));
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let machine = Machine::new();
    let mut command = machine.command(&["status"]);
    let output = command
        .arg(std::ffi::OsString::from_vec(vec![0xff, 0xfe]))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let machine = Machine::new();
    let mut command = machine.command(&["completions", "bash"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty());
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = machine.run(&["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("scale"), "{shell}");
    }
    assert!(machine.run(&["man"]).stdout.contains("overspill"));
    let ran = machine.run(&["man", "--dir", "pages"]);
    assert_eq!(ran.code, 0, "{ran}");
    for page in ["overspill.1", "overspill-run.1", "overspill-keys-create.1"] {
        assert!(
            machine.path("pages").join(page).is_file(),
            "{page} of\n{ran}"
        );
    }
}

#[test]
fn the_version_is_the_packages() {
    let ran = Machine::new().run(&["version", "--json"]);
    let version: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        Machine::new()
            .run(&["--version"])
            .stdout
            .contains(env!("CARGO_PKG_VERSION"))
    );
}
