"""Callers in several regions: the header decides the pool, what must stay stays, and a region's outage is practised."""

import json
import subprocess

import pytest

from support.processes import binary, environment
from support.server import cloud_pool, endpoint, scripted_pool
from support.wait import until

TRUSTED = 'trusted_proxies = ["127.0.0.1/32"]\n'
REGIONS = '[regions]\ndefault = "us"\nresidency = "eu"\nmap = { eu = ["DE"], us = ["US"], asia = ["VN"] }\n'


def pool(endpoint_id, region):
    return cloud_pool(endpoint_id) + f'region = "{region}"\n'


@pytest.fixture
def emulator(make):
    return make.emulator("--cold-start", "1s..2s", "--seed", "7")


def submit(server, name, country, seconds=0.2):
    headers = {"CF-IPCountry": country}
    answer = server.call("POST", f"/v2/{name}/run", json={"input": {"seconds": seconds}}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def test_jobs_run_in_the_region_of_their_callers_and_residents_never_leave_it(make, emulator):
    regions = ("us", "eu")
    ids = {region: emulator.create(region) for region in regions}
    server = make.server(
        endpoint(
            "tts",
            *(pool(ids[region], region) for region in regions),
            max_wait='"8s"',
            expected_execution='"1s"',
            expected_start='"1500ms"',
            workers='{ min = 0, max = 4, idle_timeout = "2s" }',
        ),
        endpoint("local", scripted_pool(), pool(emulator.create("other"), "us")),
        endpoint("us-only", pool(emulator.create("only"), "us")),
        top=TRUSTED + REGIONS,
        cloud=emulator,
    )
    jobs = {(country, n): submit(server, "tts", country) for country in ("DE", "US", "XX") for n in range(2)}
    for (country, _), job in jobs.items():
        assert server.wait_final("tts", job, 120)["status"] == "COMPLETED"
        shown = server.call("GET", f"/api/v1/jobs/{job}").json()
        region = {"DE": "eu"}.get(country, "us")
        assert shown["region"] == region
        ran = shown["attempts"][-1]
        assert (ran["region"], ran["because"]) == (region, "residency" if region == "eu" else "nearest")
        why = server.cli_json("why", job)
        assert region in json.dumps(why)
    # A resident may run on a card of ours, and is refused where nothing could ever run it.
    job = submit(server, "local", "DE")
    assert server.wait_final("local", job, 60)["status"] == "COMPLETED"
    assert len(server.executions()) == 1
    refused = server.call("POST", "/v2/us-only/run", json={"input": {}}, headers={"CF-IPCountry": "DE"})
    assert (refused.status_code, refused.json()["code"]) == (422, "residency_unserved")


def test_jobs_of_a_pool_that_gets_no_workers_finish_in_the_other(make, emulator):
    ids = {region: emulator.create(region) for region in ("eu", "us")}
    server = make.server(
        endpoint(
            "tts",
            *(pool(ids[region], region) for region in ids),
            max_wait='"1s"',
            expected_execution='"1s"',
            expected_start='"1500ms"',
            residency="[]",
        ),
        top=TRUSTED + REGIONS,
        cloud=emulator,
    )
    emulator.call("POST", "/emulator/faults", json={"fault": "throttled", "endpoint": ids["eu"]})
    job = submit(server, "tts", "DE")
    assert server.wait_final("tts", job, 150)["status"] == "COMPLETED"
    shown = server.call("GET", f"/api/v1/jobs/{job}").json()
    assert [attempt["region"] for attempt in shown["attempts"]] == ["eu", "us"]
    assert shown["attempts"][0]["outcome"] == "taken_back"
    codes = [line["code"] for line in server.call("GET", "/api/v1/decisions").json()["decisions"]]
    assert "no_capacity" in codes
    until(lambda: emulator.live_workers(ids["us"]) == 0, "the workers are gone", 60)


def test_the_dearer_card_is_named_where_a_job_costs_less_on_it(make, emulator):
    slow, fast = emulator.create("slow"), emulator.create("fast")
    server = make.server(
        endpoint(
            "tts",
            f'[[endpoint.cloud]]\nprovider = "runpod"\nid = "{slow}"\ngpu = "RTX 3090"\nprice = "$0.44/h"\nregion = "eu"\n',
            f'[[endpoint.cloud]]\nprovider = "runpod"\nid = "{fast}"\ngpu = "RTX 4090"\nprice = "$0.69/h"\nregion = "us"\n',
            max_wait='"20s"',
            expected_execution='"1s"',
            expected_start='"1500ms"',
            workers='{ min = 0, max = 8, idle_timeout = "2s" }',
            residency="[]",
        ),
        top=TRUSTED + REGIONS,
        cloud=emulator,
    )
    # The same work: five times as long on the one card as on the other.
    for country, seconds in (("DE", 3), ("US", 0.6)):
        jobs = [submit(server, "tts", country, seconds) for _ in range(21)]
        for job in jobs:
            assert server.wait_final("tts", job, 150)["status"] == "COMPLETED"
        # A worker that is warm elsewhere may be sooner.
        for endpoint_id in (slow, fast):
            until(lambda of=endpoint_id: emulator.live_workers(of) == 0, "the workers are gone", 60)
    shown = server.cli_json("gpus", "--for", "tts")
    rows = {row["name"]: row for row in shown["rows"]}
    assert rows["RTX 3090"]["basis"] == rows["RTX 4090"]["basis"] == "measured", shown
    assert rows["RTX 3090"]["jobs"] >= 20 and rows["RTX 4090"]["jobs"] >= 20
    assert shown["recommended"] == "RTX 4090", shown["reason"]
    assert float(rows["RTX 4090"]["usd_per_job"]) < float(rows["RTX 3090"]["usd_per_job"])
    assert "although" in shown["reason"]


@pytest.mark.timeout(420)
def test_a_drill_tells_recovery_and_money_and_loses_nothing(tmp_path):
    done = subprocess.run(
        [binary(), "drill", "--json", "--region", "eu", "--seconds", "75"],
        env=environment(tmp_path / "home"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    jobs = report["jobs"]
    assert jobs["submitted"] == jobs["completed"] > 50 and jobs["lost"] == 0
    assert jobs["hit"] > 0 and jobs["finished_elsewhere"] > 0
    assert jobs["finished_elsewhere"] + jobs["finished_there_later"] == jobs["hit"]
    assert 0 < report["recovery_s"] < 75
    assert float(report["money"]["bill_usd"]) > 0
    assert report["waits_during"]["jobs"] > 0
