"""schemathesis with RunPod's OpenAPI document against what serves its management API here.

Run by `cargo xtask schemathesis`. The document is no part of the project: it is looked for in the folder that
OVERSPILL_SHARED names (default: `shared` beside the workspace); without it nothing is run, and that is said.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from support.emulator import Emulator
from support.server import KEY, Server, endpoint

DOCUMENT = "runpod-api-v2.openapi.json"

# What is not asked, beside paths that are not served: a log is a stream without an end, and a deleted endpoint would
# leave nothing to ask about. Both have tests of their own.
NOT_ASKED = ["--exclude-path-regex", "/logs$", "--exclude-method", "DELETE"]

# Two checks are left out. The document's rules between fields stand in its prose only, so what its schemas allow may be
# refused; and the emulator takes any key, as its users have none.
LEFT_OUT = "positive_data_acceptance,ignored_auth"
SERVER_LEFT_OUT = "positive_data_acceptance,allow_header_conformance"


def document():
    root = os.environ.get("OVERSPILL_SHARED") or Path(__file__).resolve().parents[3] / "shared"
    return Path(root) / DOCUMENT


def settled(schema):
    """The document without what contradicts itself: a `uri` whose own example is a template such as `…/{job_id}`."""
    if isinstance(schema, dict):
        examples = schema.get("examples")
        if schema.get("format") == "uri" and isinstance(examples, list):
            if any("{" in str(example) for example in examples):
                schema = {k: v for k, v in schema.items() if k != "format"}
        return {k: settled(v) for k, v in schema.items()}
    if isinstance(schema, list):
        return [settled(item) for item in schema]
    return schema


def ask(folder, name, base, key, endpoint_id, paths, arguments, left_out=LEFT_OUT):
    """Runs schemathesis in a folder of its own, where its caches stay; returns its exit status."""
    folder = folder / name
    folder.mkdir()
    schema = folder / DOCUMENT
    schema.write_text(json.dumps(settled(json.loads(document().read_text()))))
    # Half of the calls on an endpoint should meet one that exists.
    (folder / "schemathesis.toml").write_text(
        f'[[operations]]\ninclude-path-regex = "^/v2/serverless/"\nparameters = {{ "path.id" = "{endpoint_id}" }}\n'
    )
    program = Path(sys.executable).parent / "schemathesis"
    command = [program, "run", schema, "--url", base, "--header", f"Authorization: Bearer {key}"]
    command += ["--include-path-regex", paths, *NOT_ASKED, *arguments]
    command += ["--phases", "examples,coverage,fuzzing", "--checks", "all", "--exclude-checks", left_out]
    command += ["--continue-on-failure", "--warnings", "off", "--no-color", "--request-timeout", "10"]
    print(f"--- {name}: {base}", flush=True)
    ran = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    cases = re.search(r"Test cases:\s*\n\s*(.+)", ran.stdout)
    if ran.returncode != 0 or cases is None:
        print(ran.stdout, flush=True)
        return f"{name} failed", False
    return f"{name}: {cases.group(1)}", True


def main():
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--max-examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not document().is_file():
        print(f"schemathesis is not run: {document()} is missing (OVERSPILL_SHARED names its folder)")
        return 0
    arguments = ["--max-examples", str(options.max_examples), "--seed", str(options.seed)]
    results = []
    with tempfile.TemporaryDirectory(prefix="overspill-fuzz-") as made:
        folder = Path(made)
        (folder / "emulator").mkdir()
        emulator = Emulator(folder / "emulator", "--no-rate-limits")
        try:
            paths = "^/v2/(serverless|catalog/(gpus|cpus|datacenters)|billing$|billing/serverless$)"
            made = emulator.create("fuzzed")
            results.append(ask(folder, "the emulator", emulator.base, "rpa_fuzz", made, paths, arguments))
        finally:
            emulator.stop()
        (folder / "server").mkdir()
        server = Server(folder / "server", [endpoint("tts"), endpoint("sdxl")]).start()
        try:
            # It makes and deletes no endpoints, and `Allow` says so.
            only = [*arguments, "--exclude-method", "POST"]
            results.append(ask(folder, "the server", server.base, KEY, "tts", "^/v2/serverless", only, SERVER_LEFT_OUT))
        finally:
            server.stop()
    print("schemathesis: " + "; ".join(text for text, _ in results))
    return 0 if all(is_passed for _, is_passed in results) else 1


if __name__ == "__main__":
    sys.exit(main())
