"""docs/compatibility.md, made from the tests that ran: `@pytest.mark.covers(operation, by)`.

A cell says "yes" when every test that covers it passed. `--compatibility write` writes the page,
`check` (what `cargo xtask test` asks for) fails when the page differs from the run.
"""

import importlib.metadata
import json
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

CLIENT = f"Python client {importlib.metadata.version('runpod')}"
ASYNC_CLIENT = f"Python async client {importlib.metadata.version('runpod')}"
WORKER = f"Python worker {importlib.metadata.version('runpod')}"
HTTP = "plain HTTP"


def _locked(package):
    """The version that `package-lock.json` pins."""
    lock = json.loads((PAGE.parents[1] / "e2e" / "package-lock.json").read_text())
    return lock["packages"][f"node_modules/{package}"]["version"]


JAVASCRIPT = f"runpod-sdk {_locked('runpod-sdk')}"
AI_SDK = f"@runpod/ai-sdk-provider {_locked('@runpod/ai-sdk-provider')}"
LANGCHAIN = "langchain-runpod 0.2.0"
OPENAI = f"openai {importlib.metadata.version('openai')}"

# Each has an environment of its own, `environments/worker-<version>.txt`; oldest first.
OLD_WORKERS = ["0.5.0", "1.6.2", "1.9.1"]


def worker_column(version):
    """The column of a worker by its version."""
    return f"Python worker {version}"


COLUMNS = [CLIENT, ASYNC_CLIENT, JAVASCRIPT, AI_SDK, LANGCHAIN, OPENAI]
COLUMNS += [*map(worker_column, OLD_WORKERS), WORKER, HTTP]

HEAD = """\
# Compatibility

Made by the end-to-end suite (`cargo xtask e2e -- --compatibility write`) from the tests that ran: the published
packages, unmodified, against the built binary. A cell says yes when every test that covers it passed; an empty cell
is not part of that client or worker, or not tested yet. `runpodctl` has no column: no package registry that
the suite installs from carries it. Workers before 0.5.0 take no handler (`runpod/serverless/modules/inference.py:7`).

"""


def add_option(parser):
    parser.addoption(
        "--compatibility",
        choices=["off", "write", "check"],
        default="off",
        help="write docs/compatibility.md from this run, or check that it is what this run says",
    )


def configure(config):
    if config.getoption("--compatibility") != "off" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config), "compatibility")


def mark(item, report):
    """Puts the rows and columns that a test covers into its report, which travels between processes."""
    if report.when == "call":
        report.covers = [list(mark.args) for mark in item.iter_markers("covers")]


class _Collector:
    def __init__(self, config):
        self.mode = config.getoption("--compatibility")
        self.cells = {}
        self.is_stale = False

    def pytest_runtest_logreport(self, report):
        for operation, by in getattr(report, "covers", []):
            self.cells.setdefault((operation, by), []).append(report.passed)

    def page(self):
        operations = sorted({operation for operation, _ in self.cells})
        lines = [
            "| operation or behaviour | " + " | ".join(COLUMNS) + " |",
            "|---|" + "---|" * len(COLUMNS),
        ]
        for operation in operations:
            row = []
            for column in COLUMNS:
                passed = self.cells.get((operation, column))
                row.append("" if passed is None else "yes" if all(passed) else "**no**")
            lines.append(f"| {operation} | " + " | ".join(row) + " |")
        return HEAD + "\n".join(lines) + "\n"

    def pytest_sessionfinish(self, session):
        page = self.page()
        if self.mode == "write":
            PAGE.write_text(page)
        elif not PAGE.exists() or PAGE.read_text() != page:
            self.is_stale = True
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        if self.is_stale:
            terminalreporter.write_line(
                "docs/compatibility.md differs from this run: "
                "cargo xtask e2e -- --compatibility write",
                red=True,
            )
