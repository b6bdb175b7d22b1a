//! `overspill simulate` and `overspill plan`: arrivals in, a bill and waits out.

use serde_json::Value;

use super::support::Machine;

const TRACE: &str = "arrival_s,duration_s,class\n0,60,a\n1,60,a\n2,200,b\n4000,30,a\n";

fn json(machine: &Machine, arguments: &[&str]) -> Value {
    let ran = machine.run(arguments);
    assert_eq!(ran.code, 0, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_trace_is_replayed_under_the_promised_keys() {
    let machine = Machine::new();
    machine.write("t.csv", TRACE);
    let arguments = [
        "simulate",
        "--trace",
        "t.csv",
        "--local-workers",
        "0",
        "--bound",
        "--json",
    ];
    let run = json(&machine, &arguments);
    for key in [
        "policy",
        "jobs",
        "billed_worker_seconds",
        "init_s",
        "busy_s",
        "idle_s",
        "starts",
        "on_time_share",
        "wait_p50_s",
        "wait_p95_s",
        "wait_p99_s",
        "bound_worker_seconds",
        "cost_usd",
    ] {
        assert!(!run[key].is_null(), "{key}: {run}");
    }
    assert_eq!(run["policy"], "cost_aware");
    assert_eq!(run["jobs"], 4);
    let billed = run["billed_worker_seconds"].as_f64().unwrap();
    assert!(
        billed >= run["bound_worker_seconds"].as_f64().unwrap() * 0.99,
        "{run}"
    );
    let again = json(&machine, &arguments);
    assert_eq!(run["billed_worker_seconds"], again["billed_worker_seconds"]);
}

#[test]
fn policies_are_compared_and_settings_changed() {
    let machine = Machine::new();
    machine.write("t.csv", TRACE);
    let hour = [
        "simulate",
        "--jobs-per-hour",
        "90",
        "--compare",
        "--seeds",
        "2",
    ];
    let set = ["--set", "local_workers=0", "--set", "max=6"];
    let compare = [&hour[..], &set[..]].concat();
    let runs = json(&machine, &[&compare[..], &["--json"]].concat());
    assert_eq!(runs["runs"].as_array().unwrap().len(), 12, "{runs}");
    assert_eq!(runs["cheapest_on_time"], "cost_aware", "{runs}");
    let table = machine.run(&compare);
    assert!(
        table
            .stderr
            .contains("of the jobs on time: cost_aware at $"),
        "{table}"
    );
    let odd = machine.run(&["simulate", "--trace", "t.csv", "--set", "colour=red"]);
    assert_eq!(odd.code, 2, "{odd}");
    assert!(odd.stderr.contains("there is no setting `colour`"), "{odd}");
    for (set, reason) in [
        ("tarot.cards=3", "there is no policy `tarot`"),
        ("cost_aware.mood=3", "there is no constant `mood`"),
        ("knative.target=blue", "`blue` is no value here"),
    ] {
        let odd = machine.run(&["simulate", "--trace", "t.csv", "--set", set]);
        assert_eq!(odd.code, 2, "{odd}");
        assert!(odd.stderr.contains(reason), "{odd}");
    }
    let patient = |set: &str| {
        let arguments = [
            "simulate",
            "--trace",
            "t.csv",
            "--local-workers",
            "0",
            "--policy",
            "runpod_queue_delay",
            "--set",
            set,
            "--json",
        ];
        json(&machine, &arguments)["wait_p50_s"].as_f64().unwrap()
    };
    assert!(patient("runpod_queue_delay.delay=60s") > patient("runpod_queue_delay.delay=1s"));
    let none = machine.run(&["simulate"]);
    assert_eq!(none.code, 2, "{none}");
    assert!(none.stderr.contains("nothing to replay"), "{none}");
    let missing = machine.run(&["simulate", "--trace", "gone.csv"]);
    assert_eq!(missing.code, 74, "{missing}");
}

#[test]
fn misfortunes_and_offers_are_flags() {
    let machine = Machine::new();
    let load = [
        "simulate",
        "--jobs-per-hour",
        "120",
        "--local-workers",
        "0",
        "--json",
    ];
    let run = |more: &[&str]| json(&machine, &[&load[..], more].concat());
    let figure = |run: &Value, key: &str| run[key].as_f64().unwrap();
    let calm = run(&[]);
    let flash = run(&["--flashboot", "100%"]);
    assert!(
        figure(&flash, "init_s") < figure(&calm, "init_s") / 4.0,
        "{flash}"
    );
    let odd = run(&["--fail-jobs", "20%", "--lose-workers", "10m"]);
    assert!(figure(&odd, "failed_attempts") > 50.0, "{odd}");
    for flag in ["--fail-starts", "--slow-starts", "--throttle"] {
        let rough = run(&[flag, "30%"]);
        assert!(
            figure(&rough, "wait_p99_s") > figure(&calm, "wait_p99_s"),
            "{flag}"
        );
    }
    let offers = [
        "--offer",
        "RTX 3090@EU, price=$1/h, max=1",
        "--offer",
        "L4@US, price=$2/h",
    ];
    let dear = run(&offers);
    let (seconds, cost) = (
        figure(&dear, "billed_worker_seconds"),
        figure(&dear, "cost_usd"),
    );
    let mean = cost / seconds * 3_600.0;
    assert!(
        (1.0..2.0).contains(&mean),
        "both are used, the cheaper first: {mean}"
    );
    let wrong = machine.run(&["simulate", "--jobs-per-hour", "1", "--offer", "Abacus"]);
    assert_eq!(wrong.code, 2, "{wrong}");
    assert!(wrong.stderr.contains("no price of"), "{wrong}");
}

#[test]
fn a_report_is_one_file_that_needs_nothing_beside_it() {
    let machine = Machine::new();
    machine.write("a<b>&c.csv", TRACE);
    let report = |file: &str, more: &[&str]| {
        let arguments = ["simulate", "--trace", "a<b>&c.csv", "--report", file];
        let ran = machine.run(&[&arguments[..], more].concat());
        assert_eq!(ran.code, 0, "{ran}");
        std::fs::read_to_string(machine.path(file)).unwrap()
    };
    let page = report("one.html", &[]);
    assert_eq!(
        page,
        report("two.html", &[]),
        "no clock, no host: the same bytes"
    );
    for chart in ["queue", "workers", "local", "waits", "money"] {
        assert!(page.contains(&format!("data-chart=\"{chart}\"")), "{chart}");
    }
    assert!(page.contains("aria-label=\"cost against wait\""));
    assert!(page.contains("a&lt;b&gt;&amp;c.csv"), "names are text");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "{{"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let data = page.split("id=\"data\">").nth(1).unwrap();
    let data: Value = serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
    assert_eq!(data["charts"]["queue"][0][2].as_array().unwrap().len(), 320);
    let all = report("all.html", &["--compare"]);
    assert!(all.contains("class=\"verdict\""));
    let gone = machine.run(&[
        "simulate",
        "--trace",
        "a<b>&c.csv",
        "--report",
        "no/such/r.html",
    ]);
    assert_eq!(gone.code, 74, "{gone}");
}

#[test]
fn plan_prints_what_the_profiles_can_do() {
    let machine = Machine::new();
    let plan = json(
        &machine,
        &[
            "plan", "--gpu", "RTX 3090", "--price", "$0.44/h", "--slots", "6", "--json",
        ],
    );
    let of = |key: &str| -> Vec<String> {
        let profiles = plan["profiles"].as_array().unwrap();
        profiles.iter().map(|p| p[key].to_string()).collect()
    };
    assert_eq!(of("workers"), ["3", "10", "30", "50", "100"]);
    assert_eq!(of("jobs_at_once"), ["18", "60", "180", "300", "600"]);
    assert_eq!(
        of("cost_usd_per_h"),
        [
            "\"1.32\"",
            "\"4.40\"",
            "\"13.20\"",
            "\"22.00\"",
            "\"44.00\""
        ]
    );
    assert!(plan["recommended"].is_null());
}

#[test]
fn plan_recommends_a_profile_for_a_described_load() {
    let machine = Machine::new();
    let plan = json(
        &machine,
        &["plan", "--users", "50", "--slots", "2", "--json"],
    );
    assert_eq!(plan["recommended"], "testing", "{plan}");
    let dear = json(
        &machine,
        &[
            "plan", "--users", "50", "--budget", "$0", "--p95", "1ms", "--json",
        ],
    );
    assert!(dear["recommended"].is_null(), "{dear}");
}

#[test]
fn a_plan_names_limits_and_gpu_and_looks_back_at_itself() {
    let machine = Machine::new();
    let mut trace = "arrival_s,duration_s,class\n".to_owned();
    for n in 0..400 {
        trace += &format!("{},{},a\n", n * 200, 20 + n % 7 * 5);
    }
    machine.write("t.csv", &trace);
    let load = ["plan", "--trace", "t.csv", "--local-workers", "0", "--json"];
    let plan =
        |more: &[&str]| json(&machine, &[&load[..], more].concat())["recommendation"].clone();
    let own = plan(&[]);
    assert_eq!(own["profile"], "testing", "{own}");
    assert_eq!(
        (own["min"].as_u64(), own["max"].as_u64()),
        (Some(0), Some(1))
    );
    assert_eq!(own["idle_timeout_s"], 5.0, "a start-up keeps 90 s: {own}");
    let error = own["back_test"]["cost_error_share"].as_f64().unwrap();
    assert!(error.abs() < 0.2, "both halves are alike: {own}");
    let tight = plan(&["--p95", "10s"]);
    assert_eq!(tight["max_wait_s"], 10.0, "{tight}");
    assert_eq!(
        tight["idle_timeout_s"], 900.0,
        "warm workers are kept: {tight}"
    );
    assert!(tight["wait_p95_s"].as_f64().unwrap() <= 10.0, "{tight}");
    let faster = plan(&["--candidate", "RTX 5090, price=$0.70/h, speed=5"]);
    assert_eq!(faster["gpu"], "RTX 5090", "{faster}");
    let told = machine.run(&["plan", "--trace", "t.csv", "--local-workers", "0"]);
    assert!(told.stderr.contains("back-test: planned from"), "{told}");
    let command = told.stderr.split('`').nth(1).unwrap().to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let init = machine.run(&words);
    assert_eq!(init.code, 0, "{init}");
    let written = std::fs::read_to_string(machine.path("overspill.toml")).unwrap();
    assert!(
        written.contains("workers  = { min = 0, max = 1, idle_timeout = \"5s\" }"),
        "{written}"
    );
    assert_eq!(machine.run(&["check"]).code, 0);
    let odd = machine.run(&["init", "--min", "20", "--force"]);
    assert!(odd.stderr.contains("min 20 is over max 3"), "{odd}");
}
