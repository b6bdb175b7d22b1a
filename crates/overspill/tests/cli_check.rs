//! `check`, `config show` and `init`: the configuration from the outside.

use super::support::{Machine, example};

#[test]
fn the_example_passes() {
    let machine = Machine::new();
    machine.write("overspill.toml", &example());
    let mut ran = machine.run(&["check"]);
    // Whether there are GPUs here is not what this test is about.
    ran.stderr = ran
        .stderr
        .lines()
        .filter(|line| !line.starts_with("on this machine"))
        .map(|line| format!("{line}\n"))
        .collect();
    insta::assert_snapshot!(ran);
}

#[test]
fn what_this_machine_lacks_is_said_beside_the_result() {
    let machine = Machine::new();
    machine.write(
        "overspill.toml",
        "[runpod]\n[[endpoint]]\nname = \"a\"\n[[endpoint.cloud]]\nprovider = \"runpod\"\nid = \"x\"\n",
    );
    let ran = machine.run(&["check"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.contains("pool cloud-1: its price is not known"),
        "{ran}"
    );
}

#[test]
fn a_worker_program_that_is_not_there_is_said() {
    let machine = Machine::new();
    let pool = |command: &str| format!("[[endpoint.local]]\ndevices = 1\ncommand = [{command}]\n");
    let (one, other) = (pool("\"no-such-python\", \"handler.py\""), pool("\"sh\""));
    let text = format!("[[endpoint]]\nname = \"a\"\n{one}{other}");
    machine.write("overspill.toml", &text);
    let ran = machine.run(&["check"]);
    // It may be meant for another machine.
    assert_eq!(ran.code, 0, "{ran}");
    let said = "endpoint a, pool local-1: no worker can be started: there is no program \"no-such-python\"";
    assert!(ran.stderr.contains(said), "{ran}");
    assert!(!ran.stderr.contains("local-2"), "{ran}");
}

#[test]
fn the_example_is_refused_where_variables_must_be_set() {
    let machine = Machine::new().with("RUNPOD_API_KEY", "");
    machine.write("overspill.toml", &example());
    let ran = machine.run(&["check", "--strict"]);
    assert_eq!(ran.code, 78, "{ran}");
    assert!(
        ran.stderr
            .contains("variable RUNPOD_API_KEY is set but empty"),
        "{ran}"
    );
}

#[test]
fn every_fault_is_shown_with_its_line() {
    let machine = Machine::new();
    machine.write(
        "overspill.toml",
        "listen = \"0.0.0.0:8080\"\n\n[runpod]\napi_key = rpa_CANARY\n\n[[endpoint]]\nname = \"tts\n",
    );
    let broken = machine.run(&["check"]);
    assert!(!broken.stderr.contains("CANARY"), "{broken}");
    machine.write(
        "overspill.toml",
        "listen = \"0.0.0.0:8080\"\n\n[[endpoint]]\nname = \"tts\"\nmax_atempts = 3\nttl = \"5\"\n\
         workers = { min = 5, max = 2 }\n\n[[endpoint]]\nname = \"tts\"\n\n[[endpoint.local]]\n\
         command = [\"python3\"]\nvram = \"12\"\ndevices = \"al\"\n",
    );
    insta::assert_snapshot!(format!("{broken}\n=====\n{}", machine.run(&["check"])));
}

#[test]
fn results_come_as_one_json_object() {
    let machine = Machine::new();
    machine.write("good.toml", &example());
    machine.write("bad.toml", "listen = 5\nendpoint = 6\n");
    let ran = machine.run(&["check", "--json", "--config", "good.toml"]);
    let good: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(good["ok"], true);
    assert_eq!(
        good["endpoints"],
        serde_json::json!(["tts", "sdxl", "chat"])
    );
    assert_eq!(good["not_active_yet"][0]["severity"], "not_active_yet");
    let ran = machine.run(&["check", "--json", "--config", "bad.toml"]);
    let bad: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 78);
    assert_eq!(bad["errors"].as_array().unwrap().len(), 2);
    assert_eq!(bad["errors"][0]["place"], "bad.toml:1:10");
}

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let machine = Machine::new();
    let ran = machine.run(&["check"]);
    assert_eq!(ran.code, 78);
    assert!(
        ran.stderr
            .contains("looked for overspill.toml, FOLDER/.config/overspill"),
        "{ran}"
    );
    let ran = machine.run(&["check", "--config", "no.toml"]);
    assert_eq!(ran.code, 74);
    assert!(
        ran.stderr.contains("\"no.toml\"") && ran.stderr.contains("overspill init"),
        "{ran}"
    );
    std::fs::write(machine.path("latin.toml"), b"# caf\xe9\n").unwrap();
    let ran = machine.run(&["check", "--config", "latin.toml"]);
    assert_eq!(ran.code, 78);
    assert!(ran.stderr.contains("not valid UTF-8 on line 1"), "{ran}");
}

#[test]
fn shown_values_are_effective_and_secrets_redacted() {
    let machine = Machine::new()
        .with("RUNPOD_API_KEY", "rpa_CANARY")
        .with("OVERSPILL__ENDPOINT__TTS__WORKERS__MAX", "2");
    machine.write("overspill.toml", &example());
    let ran = machine.run(&["config", "show"]);
    assert!(!ran.to_string().contains("CANARY"));
    insta::assert_snapshot!(ran);
    let ran = machine.run(&["config", "show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["config"]["endpoint"][0]["workers"]["max"], 2);
}

#[test]
fn a_first_configuration_passes_its_own_check() {
    let machine = Machine::new();
    let ran = machine.run(&["init", "--profile", "medium", "--name", "tts"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(machine.run(&["check"]).code, 0);
    let again = machine.run(&["init"]);
    assert_eq!(again.code, 74);
    assert!(again.stderr.contains("--force"), "{again}");
    assert_eq!(machine.run(&["init", "--force"]).code, 0);
    let bad = machine.run(&["init", "--force", "--name", "a/b"]);
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.contains("did you mean `a-b`?"), "{bad}");
}

#[test]
fn rented_types_are_listed_with_memory_and_price() {
    let ran = Machine::new().run(&["gpus", "--cloud"]);
    insta::assert_snapshot!(ran);
    let ran = Machine::new().run(&["gpus", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed["cloud"][4]["price_usd_per_h"], "0.684");
    assert!(listed["local"].is_array());
}
