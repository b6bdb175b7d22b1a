"""The documented shapes of `--json`: docs/reference/json, one JSON Schema a command.

`E2E_WRITE_JSON=1 cargo xtask e2e test_json` writes them anew from real output. A field gets its words from WORDS below, or
from how its name ends; one without words is refused.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference" / "json"

# By how a name ends.
ENDINGS = {
    "_at_ms": "when, in milliseconds since 1970 (UTC)",
    "_usd_per_h": "dollars an hour, as decimal text; null when unknown",
    "nano_usd_per_hour": "dollars an hour, in billionths",
    "_nano_usd": "dollars, in billionths",
    "_ms": "how long, in milliseconds",
    "_seconds": "how long, in seconds",
    "_s": "how long, in seconds",
    "_bytes": "bytes",
    "_usd": "dollars",
    "_percent": "of a hundred",
    "_share": "a part of 1",
}
# Objects whose keys follow from something else: a code, a configuration, a handler, the database's tables.
OPEN = {"facts", "reason", "output", "config", "progress"}
# What may be unknown at another time, if not when these outputs were taken.
MAY_BE_NULL = {
    "worker", "pool", "command", "next", "wait", "run", "failure", "failures", "sample", "status", "oldest_wait_ms",
    "since_ms", "until_ms", "by", "at_ms", "per_hour", "per_day", "per_month", "delay_ms", "execution_ms", "error", "error_code", "trace_id", "webhook", "local_utilisation", "limits_changed", "scaler_changed", "max_wait_changed", "first_start_elsewhere_s", "recovery_s", "used_again_s",
    "schedule", "quarantine",
    "cloud", "max", "price_nano_usd_per_hour", "starts_in_ms", "earlier_ms", "cost_more_nano_usd",
}
# Of what may be null in all that was seen, what it is else.
ELSE = {"first_start_elsewhere_s": "number", "recovery_s": "number", "used_again_s": "number", "quarantine": "object"}
# Objects of numbers by a name.
COUNTS = {("db salvage", "rows")}
WORDS = {
    "began_again": "jobs that began more than once: what they had done was lost with their worker",
    "bill_usd": "dollars that the emulated cloud billed, as decimal text",
    "extra_usd": "dollars that the outage cost beyond the price of its jobs before, as decimal text; negative: it cost less",
    "extra_wait_p50_s": "by how much longer the median caller of the region waited while it was down, in seconds",
    "finished_elsewhere": "of the jobs that it hit, those completed in another region or on own cards",
    "finished_there_later": "of the jobs that it hit, those completed in the region once it was back",
    "first_start_elsewhere_s": "from the outage to the first start elsewhere of a job that it hit, in seconds; null: none",
    "hit": "jobs that were at the region when it went down, or were handed there while it was",
    "ledger_usd": "the same by the server's own ledger",
    "lost": "jobs neither completed nor known any more",
    "per_job_before_usd": "dollars a job before the outage, as decimal text",
    "per_job_during_usd": "dollars a job while the region was down, as decimal text",
    "pools_down": "the pools that were down",
    "recovery_s": "from the outage until every job that it hit had started elsewhere, or there again, in seconds; null: none did",
    "used_again_s": "from the region's return to the first start there, in seconds; null: none",
    "waits_after": "waits of the region's callers after the outage",
    "waits_before": "waits of the region's callers before the outage",
    "waits_during": "waits of the region's callers who submitted while it was down",
    "at_ms": "when, in milliseconds since 1970 (UTC)",
    "alive": "whether the server answered",
    "after_death": "what RunPod could still bill if every process of Overspill died",
    "is_guarded": "whether a guard watches the server",
    "workers_kept_on": "workers that are, or may come to be, kept on",
    "alert": "the alert of a cap that it reports; null: it reports a job's end",
    "because": "why that cloud pool was chosen: a code",
    "because_text": "the same in words",
    "lateness_price": "price of lateness, in cold starts",
    "min_idle": "how long an idle worker is kept at least",
    "region": "where the caller is, or where the pool is; null when unknown",
    "max_wait": "the promise: from submit to start",
    "scaler": "the scaling rule in force, and its constants",
    "applied": "what was done: `created`, `changed`, `removed`, `left`, `failures`; null with `--dry-run`",
    "catalog_is_live": "whether GPU types were read from RunPod; else from the built-in table",
    "change": "endpoints to change: `id`, `endpoint`, `pool`, `gpu`, `is_release`, `differences`",
    "create": "endpoints to make: `endpoint`, `pool`, `gpu`, `image`",
    "gpu_missing": "GPU types that RunPod does not have: `endpoint`, `pool`, `gpu`",
    "installation": "this installation's name, which every object of it at RunPod bears",
    "kept": "ids of endpoints that are as they should be",
    "orphans": "endpoints that nothing needs any more",
    "remove": "endpoints to remove",
    "about": "what was asked about: `job` or `scale`",
    "architecture": "the processor that this binary is for",
    "attempt": "attempts made in this generation",
    "attempts": "every attempt, in order; of a webhook, how often it was tried",
    "budget_alerts": "thresholds of caps that were passed in periods that are not over",
    "by": "what a line is about; of caps, who set them while the server runs; null: the file's are in force",
    "caps": "caps: those in force with what stands against them; or of one scope, as dollars",
    "busy": "slots that run a job",
    "busy_percent": "share of the last moment in which the card computed",
    "bytes": "size of the copy",
    "cancelled": "jobs that someone cancelled",
    "causes": "the chain of causes, the first one first",
    "cheapest_on_time": "the cheapest policy that keeps the promise; null when none does",
    "checked": "known faults that were looked for",
    "cloud": "what concerns the cloud",
    "cloud_workers": "cloud workers that are up",
    "cloud_workers_end": "cloud workers at the end; 0 when all is well",
    "cloud_workers_peak": "the most cloud workers at once",
    "code": "the code, as in docs/doctor.md",
    "cold_starts": "cloud workers that were started",
    "command": "the command that does it, where one does",
    "completed": "jobs that were completed",
    "config": "the effective value of every key, as in docs/reference/configuration.md; secrets are `[redacted]`",
    "damage": "what is damaged, in words",
    "decisions": "decisions, as on the time line",
    "delayTime": "RunPod's word: submission to start, in milliseconds",
    "devices": "cards of this machine",
    "quarantine": "why the card must not be used: `fault`, `detail`, `since_ms`, `well_since_ms`; null for one that may",
    "quarantined": "cards that the running server must not use: `id`, `name`, `fault`, `detail` and `since_ms` of each",
    "driver_fault": "why cards cannot be read; null when they can",
    "ended": "jobs that ended, by how",
    "endpoint": "name of the endpoint",
    "endpoints": "endpoints: names or lines; null: all",
    "error": "the error of a failed job",
    "error_code": "a code for errors that are ours, not the handler's",
    "errors": "what is refused, in words",
    "evidence": "what was seen",
    "executionTime": "RunPod's word: time inside the last attempt, in milliseconds",
    "facts": "numbers; durations in milliseconds, money in billionths of a dollar",
    "failed": "jobs that failed",
    "failed_attempts": "attempts that failed",
    "failure": "why the last try failed",
    "failures": "refusals in a row",
    "file_max": "cloud workers at most, by the file",
    "file_min": "cloud workers that are always on, by the file",
    "file": "path of the file; of caps, those of the configuration file",
    "findings": "faults that are there",
    "fix": "what to do",
    "from": "the value now",
    "generation": "how often the job was retried by hand before",
    "gpu": "the GPU type",
    "how": "the command that sets it",
    "id": "the id",
    "idle": "workers without a job",
    "initializing": "workers that start",
    "is_reached": "whether jobs wait because of it",
    "is_nominal": "true for a card that is only counted, without a driver",
    "job": "the job's id",
    "job_status": "how the job ended",
    "jobs": "jobs: a count, counts, or lines",
    "jobs_at_once": "jobs that run at the same time at most",
    "key": "the key's id; after `keys create` the key itself, shown only there",
    "key_name": "the key's name",
    "keys": "keys, without their text",
    "kind": "which kind: `local` or `cloud`, `user` or `guard`",
    "last_decision": "number of the newest decision",
    "left_out": "lines that the limit left out",
    "lines": "one line for each that money was spent on, the dearest first; days and hours in their order",
    "left_behind": "what could not be saved, in words",
    "scaler_changed": "who set the scaling rule while the server runs, and when; null: the file's is in force",
    "max_wait_changed": "who set the promise while the server runs, and when; null: the file's is in force",
    "min_held": "the min that is asked for and held at 0, for no guard watches; 0: none",
    "limits_changed": "who set the limits while the server runs, and when; null: the file's are in force",
    "local": "what concerns cards of one's own",
    "local_utilisation": "share of the time in which local slots worked",
    "max": "cloud workers at most",
    "memory_gb": "memory of the GPU in GB",
    "min": "cloud workers that are always on",
    "money": "what is spent",
    "name": "the name",
    "next": "give it as `after` for the next page; null on the last",
    "not_active_yet": "keys that are understood and do nothing yet",
    "number": "its number, counted from 1",
    "ok": "whether `serve` would start",
    "on_this_machine": "what only concerns this machine",
    "os": "the operating system",
    "outcome": "how it ended: `completed`, `worker_lost`, …; `running` or `submitted` while it lasts",
    "output": "what the handler returned, as it is",
    "per_day": "cap on a calendar day, in dollars; null: none",
    "per_hour": "cap on a clock hour, in dollars; null: none",
    "per_month": "cap on a calendar month, in dollars; null: none",
    "period": "the period: `hour`, `day` or `month`",
    "page": "the page that explains it",
    "policy": "the scaler's policy",
    "pool": "name of the pool",
    "pools": "pools of the endpoint",
    "power_mw": "power that the card draws, in milliwatts",
    "price_usd_per_h": "dollars an hour, as decimal text; null when unknown",
    "availability": "how likely a worker of it is had: `high`, `medium`, `low`, `none`; null when unknown",
    "data_centers": "where it is had: `id`, `availability`",
    "prices_from": "where prices come from: `runpod` or `built_in`",
    "speed_percent": "how fast it is beside an RTX 4090",
    "cost": "what it cost and saved, as far as the ledger says yet",
    "cost_usd_per_h": "dollars an hour with all workers up, as decimal text",
    "prices_as_of": "day of the built-in prices",
    "profile": "the profile's name",
    "profiles": "one line a profile",
    "queued": "jobs that wait",
    "ready": "workers that could take a job now",
    "reason": "the decision's numbers, by its code",
    "recent": "jobs that ended in the last hour",
    "recommendation": "what to set for this load; null without a load",
    "recommended": "the profile to take; null without a load",
    "removed": "jobs that were taken out of the queue",
    "replaced": "folder that holds what was replaced",
    "retries": "attempts that vanished and were made again",
    "revoked": "the key's id",
    "rows": "rows that are whole",
    "run": "time inside the last attempt",
    "running": "jobs, or workers, that run",
    "runpod_endpoint": "RunPod's id of the endpoint",
    "runs": "one line a policy",
    "sample": "the last second, as in the charts",
    "schedule": "what a schedule keeps on now, or has ordered ahead; null: nothing",
    "scope": "whose spending it is on: `everything`, `endpoint` or `key`",
    "sources": "for each scope, the caps that hold, those of the file, and who set them",
    "scopes": "what the key may do",
    "secrets": "secrets that sign now, the newest first",
    "seeds": "seeds that were averaged",
    "setting": "which setting",
    "simulated": "what the load would do with it; null without a load",
    "slots": "jobs that local workers, or each worker, take at once",
    "slots_per_worker": "jobs that a worker takes at once",
    "starting": "workers that start",
    "starts": "cloud workers that were started",
    "state": "where it is: `due`, `delivered`, `dead`",
    "status": "where the job is: `queued`, `running`, `completed`, `failed`, `cancelled`, `timed_out`; after `run`, RunPod's words",
    "stopping": "workers that are about to end",
    "submitted": "jobs that came in",
    "temperature_c": "temperature of the card's die",
    "text": "the same in words",
    "throttled": "workers for which RunPod has no room",
    "time_zone": "whose hours and days they are",
    "total": "all lines together",
    "timed_out": "jobs whose time to live ended",
    "to": "the value that it would have",
    "trace_id": "the job's trace; null without one",
    "trouble": "which trouble: `not_scaling_up`, `high_cost`, `slow`, `idle_but_queued`",
    "troubles": "what is wrong with disk, clock or process",
    "unhealthy": "workers that crashed",
    "url": "where it goes",
    "version": "version of this binary",
    "wait": "submission to the start of the last attempt",
    "waiting": "jobs that were handed over and have not begun",
    "wanted": "cloud workers that the scaler wants",
    "warnings": "what people should know, in words",
    "webhook": "where the end is reported",
    "webhooks": "webhooks, newest first",
    "what_if": "what one changed setting would do",
    "worker": "who runs or ran the last attempt",
    "workerId": "RunPod's word: who ran the last attempt",
    "workers": "workers: a count, or counts by state",
    "workers_max": "the most cloud workers at once",
}


def words(name):
    """What a field means; fails for one that nobody has described."""
    if name in WORDS:
        return WORDS[name]
    ending = next((text for ending, text in ENDINGS.items() if name.endswith(ending)), None)
    assert ending, f"`{name}` needs words in support/json_schemas.py"
    return ending


def infer(values, name=None, command=""):
    """The schema of all these values of one place."""
    kinds = {kind(value) for value in values}
    if {"integer", "number"} <= kinds:
        kinds.discard("integer")
    if name in MAY_BE_NULL or (name or "").endswith(("_at_ms", "_ms_since")):
        kinds.add("null")
        kinds |= {ELSE[name]} if name in ELSE else set()
    schema = {"type": sorted(kinds) if len(kinds) > 1 else next(iter(kinds))}
    if name is not None:
        schema["description"] = words(name)
    objects = [value for value in values if isinstance(value, dict)]
    if (command, name) in COUNTS:
        schema["additionalProperties"] = {"type": "integer"}
    elif objects and name not in OPEN:
        keys = list(dict.fromkeys(key for value in objects for key in value))
        schema["properties"] = {
            key: infer([value[key] for value in objects if key in value], key, command) for key in keys
        }
        schema["required"] = [key for key in keys if all(key in value for value in objects)]
    items = [item for value in values if isinstance(value, list) for item in value]
    if items:
        schema["items"] = infer(items, command=command)
    return schema


def nullable(schema):
    """A place that was only ever seen as null says nothing of its type."""
    if schema.get("type") == "null":
        del schema["type"]
    inside = list(schema.get("properties", {}).values())
    if "items" in schema:
        inside.append(schema["items"])
    for inner in inside:
        nullable(inner)
    return schema


def write(printed):
    """One file a command, and their list."""
    FOLDER.mkdir(exist_ok=True)
    lines = []
    for command, values in sorted(printed.items()):
        name = command.replace(" ", "-")
        head = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"overspill {command} --json",
        }
        text = json.dumps(head | nullable(infer(values, command=command)), indent=2, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n")
        lines.append(f"| `overspill {command}` | [{name}.json]({name}.json) |")
    page = FOLDER / "README.md"
    before = page.read_text().partition("| command |")[0]
    table = "| command | shape |\n| --- | --- |\n" + "\n".join(lines) + "\n"
    page.write_text(before + table)


def kind(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return {str: "string", list: "array", dict: "object"}[type(value)]


def undocumented(schema, value, path="$"):
    """Fields of a value that its schema does not name."""
    if isinstance(value, dict) and "properties" in schema:
        for key, inner in value.items():
            if key in schema["properties"]:
                yield from undocumented(schema["properties"][key], inner, f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    if isinstance(value, list):
        for item in value:
            yield from undocumented(schema.get("items", {}), item, f"{path}[]")
