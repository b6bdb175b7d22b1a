use std::path::Path;

use overspill_core::time::DurationMs;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;

const EXAMPLE: &str = include_str!("../../../../overspill.example.toml");

fn check_with(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let environment = Environment::from_pairs(pairs.iter().copied());
    parse(
        text,
        "overspill.toml",
        Path::new("/base"),
        &environment,
        &Flags::default(),
        Strictness::Check,
    )
}

fn accepted(text: &str) -> Loaded {
    check_with(text, &[]).unwrap()
}

/// All refusals of `text`, one per line, without their excerpts.
fn refusals(text: &str) -> Vec<String> {
    refusals_with(text, &[])
}

fn refusals_with(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    match check_with(text, pairs) {
        Err(ConfigError::Refused(problems)) => problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| format!("{}: {}", problem.place, problem.message))
            .collect(),
        other => panic!("expected refusals of {text:?}, got {other:?}"),
    }
}

#[track_caller]
fn refused_with(text: &str, expected: &[&str]) {
    let found = refusals(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in expected {
        assert!(found[0].contains(part), "{:?} lacks {part:?}", found[0]);
    }
}

fn in_endpoint(lines: &str) -> String {
    format!("[runpod]\n[[endpoint]]\nname = \"a\"\n{lines}\n")
}

#[test]
fn the_example_loads_and_every_key_arrives() {
    let loaded = accepted(EXAMPLE);
    let config = &loaded.config;
    let warnings: Vec<_> = loaded.warnings().map(|w| w.message.as_str()).collect();
    assert_eq!(warnings, ["variable RUNPOD_API_KEY is not set"]);
    assert_eq!(config.data_dir, Path::new("/base/overspill-data"));
    assert_eq!(config.budget.per_month.unwrap().to_usd(2), "300.00");
    let tts = config.endpoint_called("abc123def456").unwrap();
    assert_eq!(tts.name, "tts");
    assert_eq!(tts.execution_timeout, DurationMs::from_secs(600));
    assert_eq!(tts.retention, DurationMs::from_secs(86_400));
    assert_eq!((tts.workers.min, tts.workers.max), (0, 3));
    assert_eq!(tts.local[0].devices(), Some(Devices::All));
    assert_eq!(tts.local[0].vram.unwrap().as_bytes(), 10_000_000_000);
    assert_eq!(tts.local[0].name, "local-1");
    assert_eq!(tts.local[1].devices(), Some(Devices::Indices(vec![0])));
    let http = tts.local[1].http.as_ref().unwrap();
    assert_eq!(http.fetch.as_ref().unwrap().r#as, FetchAs::File);
    assert_eq!(
        http.poll
            .as_ref()
            .unwrap()
            .failed
            .as_ref()
            .unwrap()
            .equals
            .as_ref()
            .unwrap()
            .0
            .len(),
        2
    );
    assert_eq!(tts.cloud[0].price.unwrap().per_hour().to_usd(2), "0.44");
    assert_eq!(tts.cloud[0].manage(), Manage::Limits);
    assert_eq!(config.endpoint[1].cloud[0].slots, Slots::Learn);
    assert_eq!(config.endpoint[1].cloud[0].manage(), Manage::Everything);
    assert_eq!(config.endpoint[2].cloud[0].provider, Provider::RunpodLb);
    assert_eq!(loaded.not_active().count(), 2, "{:#?}", loaded.findings);
}

#[test]
fn the_example_is_refused_for_serving_without_its_variable() {
    let environment = Environment::from_pairs([("RUNPOD_API_KEY", "")]);
    let refused = parse(
        EXAMPLE,
        "f",
        Path::new("/"),
        &environment,
        &Flags::default(),
        Strictness::Serve,
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("variable RUNPOD_API_KEY is set but empty")
    );
}

#[test]
fn an_endpoint_with_only_a_name_is_valid_and_so_is_nothing() {
    let loaded = accepted("[[endpoint]]\nname = \"tts\"\n");
    assert_eq!(loaded.config.endpoint[0].max_attempts, 3);
    assert!(loaded.findings.is_empty());
    assert_eq!(accepted("").config.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn what_is_shown_loads_again_the_same() {
    let loaded = check_with(EXAMPLE, &[("RUNPOD_API_KEY", "rpa_CANARY")]).unwrap();
    let key = loaded
        .config
        .runpod
        .as_ref()
        .unwrap()
        .api_key
        .as_ref()
        .unwrap();
    assert_eq!(key.expose_secret(), "rpa_CANARY");
    let shown = loaded.config.to_toml();
    assert!(!shown.contains("CANARY"));
    assert!(!format!("{:?}", loaded.config).contains("CANARY"));
    assert_eq!(accepted(&shown).config.to_json(), loaded.config.to_json());
}

#[test]
fn every_fault_is_reported_at_once_in_the_order_of_the_file() {
    let found = refusals(
        "listen = \"0.0.0.0\"\nlisen = 1\n[[endpoint]]\nname = \"a\"\nmax_atempts = 3\n\
         ttl = 5\nworkers = { min = 4, max = 2 }\n[[endpoint]]\nnane = \"b\"\n",
    );
    assert_eq!(
        found,
        [
            "overspill.toml:1:10: `0.0.0.0` has no port; expected an IP address and a port such \
             as \"127.0.0.1:8080\"",
            "overspill.toml:2:1: unknown key `lisen` in the configuration; did you mean `listen`?",
            "overspill.toml:5:1: unknown key `max_atempts` in [[endpoint]]; did you mean \
             `max_attempts`?",
            "overspill.toml:6:7: 5 what? use 5s, 5m",
            "overspill.toml:7:19: min = 4 is above max = 2; lower min or raise max",
            "overspill.toml:8:1: [[endpoint]] lacks `name`; expected text",
            "overspill.toml:9:1: unknown key `nane` in [[endpoint]]; did you mean `name`?",
        ]
    );
}

#[test]
fn rules_between_tables_hold_beside_a_faulty_table() {
    let found = refusals("listen = \"0.0.0.0:80\"\n[[endpoint]]\nname = \"a\"\nttl = 5\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains(":1:10: ") && found[0].contains("unencrypted"));
    // A fault of its own is no second one.
    refused_with(
        "listen = \"0.0.0.0:80\"\ntrusted_proxies = 5\n",
        &[":2:19: the number 5"],
    );
    let cloud = "[[endpoint.cloud]]\nprovider = \"runpod\"\nid = \"x\"\n";
    refused_with(
        &format!("[runpod]\nmax_workers = \"5\"\n[[endpoint]]\nname = \"a\"\n{cloud}"),
        &["the string `5` here"],
    );
}

#[test]
fn syntax_errors_have_a_place_and_the_line() {
    let error = check_with("a = 1\nlisten = \"x\nb = ]\n", &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("overspill.toml:2:"), "{error}");
    assert!(error.contains("    2 | listen = \"x"), "{error}");
    assert!(error.contains("overspill.toml:3:"), "{error}");
}

#[test]
fn values_of_the_wrong_kind_and_unit() {
    refused_with(
        &in_endpoint("max_wait = \"90 sacks\""),
        &[":4:12: `90 sacks` is no duration"],
    );
    refused_with(
        &in_endpoint("max_attempts = \"3\""),
        &["the string `3` here; expected a whole number"],
    );
    refused_with(&in_endpoint("max_attempts = -1"), &["-1 is out of range"]);
    let path = &in_endpoint("class_by = [\"model\", \"/steps\"]");
    refused_with(path, &["class_by names `/steps`; expected a field"]);
    refused_with(
        &in_endpoint("execution_timeout = \"8d\""),
        &["expected 5s to 168h"],
    );
    refused_with("[budget]\nper_day = 20", &[":2:11: 20 what? use \"$20\""]);
    refused_with(
        "[budget]\nper_hour = \"$20\"\nper_day = \"$5\"",
        &["above per_day"],
    );
    refused_with(
        "[budget]\ntime_zone = \"Mars/Base\"",
        &["unknown time zone `Mars/Base`"],
    );
    refused_with(
        "[auth]\nrequired = \"yes\"",
        &["expected true or false, without quotes"],
    );
    refused_with("endpoint = 3", &["the number 3 here; expected list of"]);
    refused_with(
        "trusted_proxies = [\"10.0.0.0/99\"]",
        &["`10.0.0.0/99` is no network"],
    );
    refused_with("public_url = \"gpu.example.com\"", &["is no address"]);
    refused_with("x = 99999999999999999999", &["out of range"]);
}

#[test]
fn scaler_constants_belong_to_their_policy() {
    refused_with(
        &in_endpoint("scaler = { policy = \"cost_aware\", queue_delay = \"4s\" }"),
        &["`queue_delay` belongs to the policy queue_delay, but the policy here is cost_aware"],
    );
    refused_with(
        &in_endpoint("scaler = { policy = \"cost_awar\" }"),
        &["unknown value `cost_awar`", "did you mean `cost_aware`?"],
    );
}

#[test]
fn a_name_means_one_endpoint() {
    refused_with(
        "[[endpoint]]\nname = \"tts\"\n[[endpoint]]\nname = \"tts\"\n",
        &[":4:8: `tts` is the name of this endpoint and the name on line 2"],
    );
    refused_with(
        "[[endpoint]]\nname = \"tts\"\n[[endpoint]]\nname = \"b\"\naliases = [\"TTS\"]\n",
        &[":5:12: `TTS` differs from `tts` on line 2 in upper and lower case only"],
    );
    refused_with(
        "[[endpoint]]\nname = \"a/b\"\n",
        &["`a/b` cannot be", "did you mean `a-b`?"],
    );
    refused_with("[[endpoint]]\nname = \"\"\n", &["1 to 64 letters"]);
    for reserved in ["serverless", "Catalog", "billing", "pods", "templates"] {
        refused_with(
            &format!("[[endpoint]]\nname = \"{reserved}\"\n"),
            &["is reserved"],
        );
    }
    // An app that holds the RunPod id may name it as an alias too.
    let cloud = "aliases = [\"abc\"]\n[[endpoint.cloud]]\nprovider = \"runpod\"\nid = \"abc\"\n\
                 gpu = \"RTX 3090\"";
    assert_eq!(
        accepted(&in_endpoint(cloud))
            .config
            .endpoint_called("abc")
            .unwrap()
            .name,
        "a"
    );
}

#[test]
fn an_open_listener_is_refused_with_the_fix() {
    refused_with(
        "listen = \"0.0.0.0:8080\"\n",
        &[
            "would carry keys unencrypted",
            "trusted_proxies = [",
            "listen = \"127.0.0.1:8080\"",
        ],
    );
    refused_with(
        "listen = \"[::]:80\"\ntrusted_proxies = [\"10.0.0.2\"]\n[auth]\nrequired = false\n",
        &["with auth off", "required = true"],
    );
    accepted("listen = \"0.0.0.0:8080\"\ntrusted_proxies = [\"10.0.0.2\"]\n");
    accepted("listen = \"localhost:0\"\n[auth]\nrequired = false\n");
}

#[test]
fn local_pools_have_one_kind() {
    let pool = |lines: &str| in_endpoint(&format!("[[endpoint.local]]\n{lines}"));
    refused_with(
        &pool("slots = 2"),
        &["says not where its workers come from"],
    );
    refused_with(
        &pool("command = [\"x\"]\nremote = true"),
        &["command and remote together"],
    );
    refused_with(&pool("command = []"), &["an empty command"]);
    refused_with(
        &pool("command = [\"x\"]\ndevices = \"al\""),
        &["the string `al` here; expected \"all\""],
    );
    refused_with(
        &pool("command = [\"x\"]\ndevices = [1, 1]"),
        &["device 1 is listed twice"],
    );
    refused_with(
        &pool("command = [\"x\"]\nvram = 12"),
        &["12 what? use 12GB"],
    );
    refused_with(&pool("command = [\"x\"]\nslots = 0"), &["slots = 0"]);
    refused_with(
        &pool("remote = true\nenv = { A = \"b\" }"),
        &["`env` is for a pool with `command`"],
    );
    refused_with(
        &pool("command = [\"x\"]\nenv = { RUNPOD_WEBHOOK_GET_JOB = \"b\" }"),
        &["is set by Overspill"],
    );
    let loaded = accepted(&pool(
        "command = [\"x\"]\ndevices = 2\ndir = \"w\"\nenv = { HF_TOKEN = \"s\" }",
    ));
    let pool = &loaded.config.endpoint[0].local[0];
    assert_eq!(pool.devices(), Some(Devices::Count(2)));
    assert_eq!(pool.dir.as_deref(), Some(Path::new("/base/w")));
    assert_eq!(pool.env["HF_TOKEN"], "s");
    assert!(
        loaded
            .config
            .to_toml()
            .contains("HF_TOKEN = \"[redacted]\"")
    );
}

#[test]
fn http_pools_are_checked_though_they_are_later_work() {
    let pool = |lines: &str| {
        in_endpoint(&format!(
            "[[endpoint.local]]\n[endpoint.local.http]\nbase_url = \"http://127.0.0.1:1\"\n{lines}"
        ))
    };
    refused_with(&pool(""), &["lacks `submit`"]);
    refused_with(
        &pool("submit = { request = \"/tts\" }"),
        &["`/tts` is no request"],
    );
    refused_with(
        &pool("submit = { request = \"PSOT /tts\" }"),
        &["did you mean `POST`?"],
    );
    refused_with(
        &pool("submit = { request = \"POST /a\", body = { t = \"{inptu.text}\" } }"),
        &["unknown placeholder `inptu.text`", "did you mean `input`?"],
    );
    refused_with(
        &pool("submit = { request = \"POST /a\", busy = [200] }"),
        &["status 200 is in `accept` and in `busy`"],
    );
    refused_with(
        &pool("submit = { request = \"POST /a\" }\nfetch = { request = \"GET /a\" }"),
        &["`fetch` without `poll`"],
    );
    let loaded = accepted(&pool("submit = { request = \"POST /a\" }"));
    assert_eq!(loaded.not_active().count(), 1);
}

#[test]
fn cloud_pools_are_given_or_made() {
    let pool = |lines: &str| {
        in_endpoint(&format!(
            "[[endpoint.cloud]]\nprovider = \"runpod\"\n{lines}"
        ))
    };
    refused_with(
        &pool("id = \"a1\"\nimage = \"x\"\ngpu = \"A40\""),
        &["`id` together with `image`"],
    );
    refused_with(&pool(""), &["neither `id` nor `image`"]);
    refused_with(&pool("image = \"x\""), &["`image` without `gpu`"]);
    refused_with(
        &pool("id = \"a1\"\ndata_centers = [\"EU-RO-1\"]"),
        &["`data_centers` is for"],
    );
    for key in [
        "env = { A = \"1\" }",
        "disk = \"9GB\"",
        "flashboot = \"on\"",
        "registry = \"r\"",
    ] {
        let name = key.split(' ').next().unwrap();
        refused_with(
            &pool(&format!("id = \"a1\"\n{key}")),
            &[&format!("`{name}` is for endpoints made from `image`")],
        );
    }
    for (line, message) in [
        (
            "disk = \"500MB\"",
            "a disk of 500MB; expected whole gigabytes",
        ),
        ("gpu_count = 0", "gpu_count = 0 is no number of GPUs"),
        (
            "flashboot = \"yes\"",
            "unknown value `yes`; expected off or on",
        ),
        ("image = \"a b\"", "`a b` is no container image"),
    ] {
        let image = if line.starts_with("image") {
            ""
        } else {
            "image = \"x\"\n"
        };
        refused_with(&pool(&format!("{image}gpu = \"A40\"\n{line}")), &[message]);
    }
    refused_with(
        &pool("image = \"x\"\ngpu = [\"RTX 4090\", \"rtx 4090\"]"),
        &["stands twice in `gpu`"],
    );
    refused_with(
        &pool("id = \"a1\"\nmax = 9"),
        &["max = 9 of this pool is above workers.max = 3"],
    );
    refused_with(
        &pool("id = \"a1\"\ngpu = \"RTX 3091\""),
        &["unknown GPU type `RTX 3091`; known, nearest first: RTX 3090"],
    );
    refused_with(
        &pool("id = \"a1\"\nprice = \"$0.44\""),
        &["per what? use \"$0.44/h\""],
    );
    refused_with(
        &pool("id = \"a1\"\nslots = 0"),
        &["expected a number of jobs at once"],
    );
    let named = accepted(&pool("id = \"a1\"\ngpu = \"RTX 9090\"\nprice = \"$1/h\""));
    assert_eq!(named.warnings().count(), 1);
    refused_with(
        "[[endpoint]]\nname = \"a\"\n[[endpoint.cloud]]\nprovider = \"runpod\"\nid = \"x\"\n",
        &["a cloud pool without [runpod]"],
    );
}

#[test]
fn limits_above_the_account_quota_name_both_numbers() {
    refused_with(
        "[runpod]\nmax_workers = 5\n[[endpoint]]\nname = \"a\"\nworkers = { max = 9 }\n\
         [[endpoint.cloud]]\nprovider = \"runpod\"\nid = \"x\"\n",
        &["max = 9 is above max_workers = 5"],
    );
}

#[test]
fn a_cloud_that_is_this_server_is_refused() {
    refused_with(
        "[runpod]\nbase_url = \"http://localhost:8080/v2\"\n",
        &["base_url is the address that Overspill itself listens on"],
    );
}

#[test]
fn variables_override_and_are_named_when_wrong() {
    let loaded = check_with(
        EXAMPLE,
        &[
            ("OVERSPILL__LISTEN", "127.0.0.1:9"),
            ("OVERSPILL__BUDGET__PER_DAY", "$7"),
            ("OVERSPILL__ENDPOINT__TTS__WORKERS__MAX", "5"),
            ("OVERSPILL__ENDPOINT__TTS__LOCAL__FLASK_TTS__SLOTS", "4"),
            ("OVERSPILL__ENDPOINT__1__MAX_WAIT", "30s"),
            ("OVERSPILL__ALLOWED_HOSTS", "[\"a.example\"]"),
            ("OVERSPILL__RUNPOD__API_KEY", "rpa_1"),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.listen.port(), 9);
    assert_eq!(config.budget.per_day.unwrap().to_usd(0), "7");
    assert_eq!(config.endpoint[0].workers.max, 5);
    assert_eq!(config.endpoint[0].local[1].slots, 4);
    assert_eq!(config.endpoint[1].max_wait, DurationMs::from_secs(30));
    assert_eq!(config.allowed_hosts, ["a.example"]);

    let found = refusals_with(
        EXAMPLE,
        &[
            ("OVERSPILL__LISEN", "x"),
            ("OVERSPILL__ENDPOINT__TSS__TTL", "5h"),
            ("OVERSPILL__BUDGET__PER_DAY", "7"),
            ("OVERSPILL__LISTEN__PORT", "7"),
        ],
    );
    assert_eq!(
        found,
        [
            "OVERSPILL__BUDGET__PER_DAY: 7 what? use \"$7\"",
            "OVERSPILL__ENDPOINT__TSS__TTL: no element `TSS` here; known: tts, sdxl, chat",
            "OVERSPILL__LISEN: unknown key `lisen` in the configuration; did you mean `listen`?",
            "OVERSPILL__LISTEN__PORT: the string `127.0.0.1:8080` has no keys below it",
        ]
    );
}

#[test]
fn flags_win_over_variables_and_are_named() {
    let flags = Flags {
        listen: Some("0.0.0.0:1".to_owned()),
        data_dir: Some("/d".to_owned()),
        journal: Some("j".to_owned()),
    };
    let environment = Environment::from_pairs([("OVERSPILL__LISTEN", "127.0.0.1:9")]);
    let refused = parse(
        "",
        "f",
        Path::new("/"),
        &environment,
        &flags,
        Strictness::Check,
    )
    .unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("--listen: listen = \"0.0.0.0:1\" would"),
        "{refused}"
    );
}

#[test]
fn schedules_are_read_and_impossible_ones_refused() {
    let endpoint = "[[endpoint]]\nname = \"tts\"\nworkers = { max = 3 }\n[[endpoint.schedule]]\n";
    let loaded = accepted(&format!(
        "{endpoint}days = [\"mon-fri\", \"sun\"]\nfrom = \"22:00\"\nto = \"6:00\"\nmin = 2\n\
         time_zone = \"Europe/Berlin\"\nlead = \"2m\"\n"
    ));
    let schedule = &loaded.config.endpoint[0].schedule[0];
    assert_eq!(schedule.days().to_string(), "mon-fri, sun");
    assert_eq!(schedule.minutes(), (22 * 60, 30 * 60));
    let shown = loaded.config.to_toml();
    assert!(shown.contains("from = \"22:00\""), "{shown}");
    for (keys, reason) in [
        (
            "from = \"8:00\"\nto = \"8:00\"\nmin = 1",
            "from and to are the same",
        ),
        (
            "from = \"24:00\"\nto = \"8:00\"\nmin = 1",
            "the end of the day",
        ),
        (
            "from = \"8:00\"\nto = \"18:00\"\nmin = 0",
            "keeps no worker on",
        ),
        (
            "from = \"8:00\"\nto = \"18:00\"\nmin = 4",
            "above workers.max = 3",
        ),
        (
            "from = \"8:00\"\nto = \"18h\"\nmin = 1",
            "is no time of day",
        ),
        (
            "days = [\"mondy\"]\nfrom = \"8:00\"\nto = \"9:00\"\nmin = 1",
            "is no day",
        ),
        (
            "from = \"8:00\"\nto = \"9:00\"\nmin = 1\nlead = \"2h\"",
            "out of range",
        ),
        ("from = \"8:00\"\nto = \"9:00\"", "lacks `min`"),
    ] {
        refused_with(&format!("{endpoint}{keys}\n"), &[reason]);
    }
}

#[test]
fn runpod_access_comes_from_the_file_then_the_environment() {
    let environment = Environment::from_pairs([
        (env::RUNPOD_API_KEY, "rpa_env"),
        (env::RUNPOD_ENDPOINT_BASE_URL, "http://127.0.0.1:7/v2/"),
    ]);
    let loaded = accepted("[runpod]\n");
    let access = loaded.config.runpod.unwrap().access(&environment).unwrap();
    assert_eq!(access.api_key.unwrap().expose_secret(), "rpa_env");
    assert_eq!(access.base_url.as_str(), "http://127.0.0.1:7/v2");
    assert_eq!(access.management_url.as_str(), Runpod::MANAGEMENT_URL);
}

#[test]
fn deep_and_huge_texts_are_refused_not_crashed_on() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("a = {{ {}a = 1 }}", "a.".repeat(100_000)),
        format!("a = {{ b = 1, {}a = 1 }}", "a . ".repeat(100_000)),
        format!("a = \"#\"\n\"=\".{}a = 1", "a.".repeat(100_000)),
        format!("a = {{ \"=\".{}a = \"=\" }}", "a.".repeat(100_000)),
        format!("\",#\".{}a = 1", "a.".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(400)),
        "x".repeat(2 << 20),
    ] {
        assert!(
            matches!(check_with(&text, &[]), Err(ConfigError::Refused(_))),
            "{}",
            &text[..40]
        );
    }
}

#[test]
fn every_key_is_documented() {
    fn walk(keys: &[KeyDoc], count: &mut usize) {
        for key in keys {
            assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{key:?}");
            *count += 1;
            walk(key.keys.as_deref().unwrap_or(&[]), count);
        }
    }
    let mut count = 0;
    walk(&key_docs(), &mut count);
    assert!(count > 80, "{count}");
}

#[test]
fn regions_name_what_there_is() {
    let regions = |lines: &str, endpoint: &str| {
        format!(
            "[runpod]\n[regions]\nmap = {{ eu = [\"DE\"], us = [\"US\"] }}\n{lines}\n[[endpoint]]\nname = \"a\"\n{endpoint}"
        )
    };
    let pool = |region: &str| {
        format!(
            "[[endpoint.cloud]]\nprovider = \"runpod\"\nid = \"x\"\ngpu = \"A40\"\nregion = \"{region}\"\n"
        )
    };
    let loaded = accepted(&regions(
        "residency = \"eu\"\nheader = \"X-Region\"\ngeoip = \"geo.mmdb\"",
        &pool("eu"),
    ));
    assert_eq!(
        loaded.warnings().count(),
        0,
        "{:?}",
        loaded.warnings().collect::<Vec<_>>()
    );
    assert_eq!(loaded.not_active().count(), 0);
    let regions_of = loaded.config.regions.as_ref().unwrap();
    assert_eq!(regions_of.residency.regions().len(), 1);
    assert!(regions_of.geoip.as_ref().unwrap().is_absolute());
    refused_with(
        &regions("residency = [\"ue\"]", ""),
        &["unknown region `ue`; known: eu, us"],
    );
    refused_with(
        &regions("", &pool("uss")),
        &["unknown region `uss`", "known from [regions] map: eu, us"],
    );
    refused_with(
        &regions("", "residency = \"asia\"\n"),
        &["unknown region `asia`; known: eu, us"],
    );
    refused_with(
        &regions("header = \"a b\"", ""),
        &["`a b` is no name of a header"],
    );
    refused_with(
        "[regions]\nmap = { \"europe and africa\" = [\"DE\"] }\n",
        &["is no name of a region; expected 1 to 15 letters"],
    );
    refused_with(
        &in_endpoint("residency = \"eu\""),
        &["`residency` without [regions]"],
    );
    // Without a map the header names the regions of the pools.
    let loaded = accepted(&format!(
        "[regions]\ndefault = \"eu\"\n[runpod]\n[[endpoint]]\nname = \"a\"\n{}",
        pool("eu")
    ));
    assert_eq!(loaded.warnings().count(), 0);
    // A region that nothing of the endpoint serves: said, not refused.
    let loaded = accepted(&regions("residency = \"eu\"", &pool("us")));
    let warnings: Vec<String> = loaded.warnings().map(ToString::to_string).collect();
    assert!(warnings[0].contains("they are refused"), "{warnings:?}");
}

/// TOML-like text: pieces of the real grammar in any order, so that the walk reaches deep.
fn toml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[[endpoint]]\n",
        "[[endpoint.local]]\n",
        "[endpoint.local.http]\n",
        "[[endpoint.cloud]]\n",
        "[budget]\n",
        "[regions]\n",
        "name",
        "workers",
        "submit",
        "poll",
        "gpu",
        "devices",
        "price",
        " = ",
        "\"a\"",
        "\"${X}\"",
        "\"5\"",
        "\"$1/h\"",
        "{ ",
        " }",
        "[",
        "]",
        ", ",
        "\n",
        "1",
        "-1",
        "1e999",
        "nan",
        "true",
        ".",
        "\"",
        "'",
        "#",
        "=",
        "\\",
        "\u{0}",
        "ü",
        "1979-05-27",
        "min = 3",
        "provider = \"runpod\"\n",
    ]);
    prop::collection::vec(
        prop_oneof![8 => piece.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_the_loader(text in toml_like(), value in ".{0,20}") {
        if let Err(error) = check_with(&text, &[("OVERSPILL__ENDPOINT__A__TTL", &value), ("X", &value)]) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_changed_example_is_judged_without_panic(at in 0..EXAMPLE.len(), with in any::<char>()) {
        judge_changed_example(at, with);
    }
}

/// Found by the property above: without its `#` the example names a database, which is a secret.
#[test]
fn an_example_with_a_secret_is_shown_and_loads() {
    let comment = EXAMPLE.find("# database").expect("the example names it");
    judge_changed_example(EXAMPLE[..comment].chars().count(), '\t');
}

/// The example with one character replaced: if it loads, what is shown of it loads too, once its
/// only possible secret is put back.
fn judge_changed_example(at: usize, with: char) {
    let mut text: Vec<char> = EXAMPLE.chars().collect();
    let at = at.min(text.len() - 1);
    text[at] = with;
    let text: String = text.into_iter().collect();
    if let Ok(loaded) = check_with(&text, &[]) {
        let shown = loaded.config.to_toml();
        let whole = shown.replace("[redacted]", "postgres://overspill@db/overspill");
        assert!(check_with(&whole, &[]).is_ok(), "{shown}");
    }
}

#[test]
fn bad_input_an_allowed_origin_is_scheme_and_host() {
    for bad in [
        "*",
        "app.example",
        "https://",
        "https://app.example/path",
        "null",
    ] {
        let value = format!("[\"{bad}\"]");
        let found = refusals_with(EXAMPLE, &[("OVERSPILL__ALLOWED_ORIGINS", &value)]);
        assert!(
            found.iter().any(|text| text.contains("is no origin")),
            "{bad}: {found:?}"
        );
    }
}
