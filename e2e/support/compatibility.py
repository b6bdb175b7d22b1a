"""docs/compatibility.md, made from the tests that ran: `@pytest.mark.covers(operation, by)`.

A cell says "yes" when every test that covers it passed; one without a test has its reason from
`compatibility_clients.py` or `compatibility_workers.py`, and none of both fails the run. `--compatibility write`
writes the page, `check` (what `cargo xtask test` asks for) fails when the page differs from the run.
"""

from pathlib import Path

from support import compatibility_clients, compatibility_workers
from support.columns import CLIENTS, HTTP, MANAGERS, WORKERS, worker_column

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

HEAD = """\
# Compatibility

Made by the end-to-end suite (`cargo xtask e2e -- --compatibility write`) from the tests that ran: the published
packages, unmodified, against the built binary. A cell says yes when every test that covers it passed. Where a client
or worker has no part in a row, the number leads to the reason below the table: a line of its published package, which
the suite looks up in the package that is installed.
"""
CLIENTS_LEAD = """\
`runpodctl` has no column: no package registry that the suite installs from carries it."""
WORKERS_LEAD = """\
Workers before 0.5.0 take no handler (`runpod/serverless/modules/inference.py:7`)."""
MANAGERS_LEAD = """\
What looks at our endpoints and changes their limits over `/v2/serverless`. The Python client's own management calls are GraphQL
(`runpod/api/graphql.py:34`), which RunPod retires and which is not served."""
HTTP_LEAD = """\
Every operation as any program sees it, and what the server says whichever client asks."""


def _client_reasons():
    return {
        (row, column): f"{column}: {reason.why} (`{reason.file}:{reason.line}`)"
        for (row, column), reason in compatibility_clients.REASONS.items()
    }


def _worker_reasons():
    return {
        (row, worker_column(version)): f"{worker_column(version)}: {why} (`{file}:{line}`)"
        for (row, version), (why, file, line, _) in compatibility_workers.REASONS.items()
    }


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
        # Cells without a test and without a reason.
        self.unexplained = []

    def pytest_runtest_logreport(self, report):
        for operation, by in getattr(report, "covers", []):
            self.cells.setdefault((operation, by), []).append(report.passed)

    def page(self):
        text = HEAD
        for title, lead, columns, reasons in (
            ("Clients", CLIENTS_LEAD, CLIENTS, _client_reasons()),
            ("Workers", WORKERS_LEAD, WORKERS, _worker_reasons()),
            ("Management clients", MANAGERS_LEAD, MANAGERS, {}),
            ("The wire itself", HTTP_LEAD, [HTTP], {}),
        ):
            text += f"\n## {title}\n\n{lead}\n\n" + self._table(columns, reasons)
        return text

    def _table(self, columns, reasons):
        rows = sorted({row for row, column in self.cells if column in columns})
        notes = []
        lines = [f"| operation or behaviour | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
        for row in rows:
            cells = [self._cell(row, column, reasons, notes) for column in columns]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        if notes:
            lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
        return "\n".join(lines) + "\n"

    def _cell(self, row, column, reasons, notes):
        passed = self.cells.get((row, column))
        if passed is not None:
            return "yes" if all(passed) else "**no**"
        note = reasons.get((row, column))
        if note is None:
            self.unexplained.append(f"{row}, {column}")
            return "**?**"
        if note not in notes:
            notes.append(note)
        return f"no ({notes.index(note) + 1})"

    def pytest_sessionfinish(self, session):
        page = self.page()
        if self.unexplained:
            session.exitstatus = 1
        if self.mode == "write":
            PAGE.write_text(page)
        elif not PAGE.exists() or PAGE.read_text() != page:
            self.is_stale = True
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        for cell in self.unexplained:
            line = f"docs/compatibility.md: no test covers {cell}, and no reason says why"
            terminalreporter.write_line(line, red=True)
        if self.is_stale:
            terminalreporter.write_line(
                "docs/compatibility.md differs from this run: "
                "cargo xtask e2e -- --compatibility write",
                red=True,
            )
