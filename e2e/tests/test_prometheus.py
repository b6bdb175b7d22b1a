"""A real Prometheus takes the metrics, the alert rules and every query of the Grafana dashboard.

It is Debian's (`prometheus`, with `promtool`), which `cargo xtask e2e` installs where it may.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
import requests

from support.processes import Child, environment
from support.server import KEY, cloud_pool, endpoint, scripted_pool
from support.wait import until

GRAFANA = Path(__file__).resolve().parents[2] / "docs" / "grafana"
PROMTOOL = "/usr/bin/promtool"
PROMETHEUS = "/usr/bin/prometheus"


def promtool(*arguments, **streams):
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, **streams)


@pytest.fixture(scope="module")
def server(make_shared):
    """A server that has run jobs here and in the cloud."""
    emulator = make_shared.emulator("--cold-start", "1s..2s")
    server = make_shared.server(
        endpoint(
            "tts",
            scripted_pool(),
            cloud_pool(emulator.create("tts")),
            max_wait='"1s"',
            expected_execution='"5s"',
            expected_start='"1500ms"',
            workers='{ min = 0, max = 2, idle_timeout = "2s" }',
        ),
        cloud=emulator,
    )
    server.submit("tts", {"seconds": 0, "error": "no such voice"})
    for _ in range(6):
        server.submit("tts", {"seconds": 1})
    until(lambda: "spent_dollars_total{" in metrics(server), "the cloud was used and paid", 60)
    until(lambda: 'status="completed"} 6' in metrics(server), "all jobs have ended", 60)
    assert 'job_failures_total{endpoint="tts",kind="handler"} 1' in metrics(server)
    return server


def metrics(server, **headers):
    answer = server.call("GET", "/metrics", headers=headers)
    assert answer.status_code == 200
    return answer.text


def test_promtool_finds_nothing_wrong_with_the_metrics(server):
    done = promtool("check", "metrics", input=metrics(server))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_alert_rules_are_valid_and_say_what_they_should():
    done = promtool("check", "rules", "alerts.yml", cwd=GRAFANA)
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("test", "rules", "alerts.test.yml", cwd=GRAFANA)
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"- alert: (\w+)", (GRAFANA / "alerts.yml").read_text()))
    tested = re.findall(r"alertname: (\w+)", (GRAFANA / "alerts.test.yml").read_text())
    # Each one before its time, at its time, and on a healthy day.
    assert {name: tested.count(name) for name in alerts} == dict.fromkeys(alerts, 3)
    guide = (GRAFANA.parent / "guides" / "monitoring.md").read_text()
    assert all(f"`{name}`" in guide for name in alerts)


def test_every_runbook_is_there():
    text = (GRAFANA / "alerts.yml").read_text()
    for page, _, anchor in (book.partition("#") for book in re.findall(r"runbook: (\S+)", text)):
        path = GRAFANA.parents[1] / page
        assert path.exists(), page
        assert not anchor or f'id="{anchor}"' in path.read_text(), anchor


def test_every_query_of_the_dashboard_has_an_answer_from_a_real_prometheus(server, tmp_path, free_port):
    key = tmp_path / "key"
    key.write_text(KEY)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: { scrape_interval: 1s, evaluation_interval: 1s }\n"
        f"rule_files: [{GRAFANA / 'alerts.yml'}]\n"
        "scrape_configs:\n"
        "  - job_name: overspill\n"
        f"    authorization: {{ credentials_file: {key} }}\n"
        f"    static_configs: [{{ targets: ['127.0.0.1:{server.port}'] }}]\n"
    )
    port = free_port()
    program = Child(
        tmp_path,
        "prometheus",
        [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        environment(tmp_path / "home"),
    )

    def ask(path, **query):
        try:
            return requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=query, timeout=10).json()
        except (requests.RequestException, ValueError):
            return {}

    def result(query):
        answer = ask("query", query=query)
        assert answer.get("status") == "success", f"{query}: {answer}"
        return answer["data"]["result"]

    try:
        seen = 'count_over_time(up{job="overspill"}[1m])'
        until(lambda: ask("query", query=seen).get("status"), "Prometheus answers", 60)
        # Rates need some samples.
        until(lambda: any(int(one["value"][1]) >= 5 for one in result(seen)), "five scrapes", 60)
        assert [one["value"][1] for one in result("up")] == ["1"]
        # Histograms stand still once all jobs have ended: one more makes them move.
        server.finish("tts", {"seconds": 0.1})
        moved = 'increase(overspill_job_wait_seconds_count{endpoint="tts"}[1m])'
        until(lambda: any(float(one["value"][1]) > 0 for one in result(moved)), "the job is seen", 60)
        panels = json.loads((GRAFANA / "overspill.json").read_text())["panels"]
        for panel in panels:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "1m").replace("$endpoint", ".*")
                assert "$" not in query
                found = result(query)
                assert found, f"{panel['title']}: {query}"
                for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                    assert all(label in one["metric"] for one in found), f"{query}: no {label}"
        groups = ask("rules")["data"]["groups"]
        rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
        assert len(rules) == 11
        assert all(rule["health"] in ("ok", "unknown") for rule in rules.values()), rules
        assert all(rule["state"] != "firing" for rule in rules.values()), rules
    finally:
        program.terminate()
