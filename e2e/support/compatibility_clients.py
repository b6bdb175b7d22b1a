"""Why a client has no part in a row of docs/compatibility.md: by its published package.

`REASONS[row, column]` names a line of the package, and a word that stands nowhere in it where the reason is
that a call does not exist. `tests/test_client_reasons.py` holds both against what is installed.
"""

from dataclasses import dataclass
from pathlib import Path

from support.columns import AI_SDK, ASYNC_CLIENT, CLIENT, JAVASCRIPT, LANGCHAIN, OPENAI
from support.foreign import MODULES, packages


@dataclass(frozen=True)
class Reason:
    """A sentence, and the line that shows it."""

    why: str
    file: str
    line: int
    text: str
    # Stands in no file of the client: `part` of the package, a file or a folder.
    absent: str | None = None
    part: str | None = None


RUNNER = "runpod/endpoint/runner.py"
ASYNC_RUNNER = "runpod/endpoint/asyncio/asyncio_runner.py"
SDK = "runpod-sdk/dist/src/index.js"
PROVIDER = "@runpod/ai-sdk-provider/dist/index.mjs"
LLMS = "langchain_runpod/llms.py"

OPENAI_ROWS = [
    "openai: chat completion",
    "openai: completion",
    "openai: error status",
    "openai: models",
    "openai: streamed chat completion",
    "openai: usage chunk",
]
# Rows whose call has a name of its own on the wire.
CALLS = {
    "runsync": "runsync",
    "status-sync": "status-sync",
    "stream": "/stream",
    "cancel of a queued job": "/cancel",
    "cancel of a running job": "/cancel",
    "purge-queue": "purge-queue",
    "health": "/health",
}


def _no_call(column, rows, *line, part):
    """The client has no such call: its word on the wire stands nowhere in its package."""
    return {
        (row, column): Reason(f"it has no call for `{CALLS[row].strip('/')}`", *line, CALLS[row], part)
        for row in rows
    }


def _no_openai(column, *line, part):
    """The client speaks RunPod's own operations only."""
    why = "it makes RunPod's own calls only"
    return {(row, column): Reason(why, *line, "/openai", part) for row in OPENAI_ROWS}


def _only_openai():
    line = ("openai/resources/chat/completions/completions.py", 1612, '"/chat/completions",')
    rows = ["run", "status", "status of a failed job", *CALLS, "404 for an unknown job", "400 for a bad policy"]
    why = "it makes OpenAI's calls, and no RunPod operation is among them"
    return {(row, OPENAI): Reason(why, *line, "purge-queue", "openai/resources") for row in rows}


REASONS = {
    **_no_call(CLIENT, ["status-sync"], RUNNER, 130, "def status(self):", part="runpod/endpoint"),
    **_no_openai(CLIENT, RUNNER, 187, 'class Endpoint:', part="runpod/endpoint"),
    **_no_call(
        ASYNC_CLIENT,
        ["runsync", "status-sync"],
        ASYNC_RUNNER,
        150,
        "async def run(self, endpoint_input: dict) -> Job:",
        part="runpod/endpoint/asyncio",
    ),
    ("400 for a bad policy", ASYNC_CLIENT): Reason(
        "it sends the input and nothing beside it",
        ASYNC_RUNNER,
        161,
        'self.endpoint_url, headers=self.headers, json={"input": endpoint_input}',
        "policy",
        ASYNC_RUNNER,
    ),
    **_no_openai(ASYNC_CLIENT, ASYNC_RUNNER, 116, "class Endpoint:", part="runpod/endpoint/asyncio"),
    **_no_openai(JAVASCRIPT, SDK, 130, "class Endpoint {", part=SDK),
    **_no_call(
        AI_SDK,
        ["status-sync", "stream", "cancel of a queued job", "cancel of a running job", "purge-queue", "health"],
        PROVIDER,
        385,
        "url: `${baseURL}/status/${jobId}`,",
        part=PROVIDER,
    ),
    ("404 for an unknown job", AI_SDK): Reason(
        "it asks only for the job that it submitted itself", PROVIDER, 385, "url: `${baseURL}/status/${jobId}`,"
    ),
    ("400 for a bad policy", AI_SDK): Reason(
        "it sends the input and nothing beside it", PROVIDER, 295, "input: inputPayload", "executionTimeout", PROVIDER
    ),
    ("openai: models", AI_SDK): Reason(
        "it lists no models", PROVIDER, 1355, "return new OpenAICompatibleChatLanguageModel(openaiModelName, {", '"/models', PROVIDER
    ),
    **_no_call(
        LANGCHAIN,
        CALLS,
        LLMS,
        306,
        'url = f"{self.api_base}/{self.endpoint_id}/run"',
        part="langchain_runpod",
    ),
    ("404 for an unknown job", LANGCHAIN): Reason(
        "it asks only for the job that it submitted itself",
        LLMS,
        517,
        'status_url = f"{self.api_base}/{self.endpoint_id}/status/{job_id}"',
    ),
    ("400 for a bad policy", LANGCHAIN): Reason(
        "it sends the input and nothing beside it", LLMS, 288, '"input": {', "executionTimeout", "langchain_runpod"
    ),
    **_no_openai(
        LANGCHAIN,
        LLMS,
        306,
        'url = f"{self.api_base}/{self.endpoint_id}/run"',
        part="langchain_runpod",
    ),
    **_only_openai(),
}


def root(column):
    """Where the packages of a client are installed."""
    if column in (JAVASCRIPT, AI_SDK):
        return MODULES
    return packages("langchain" if column == LANGCHAIN else None)


def text_at(column, file, line):
    """What stands at a line of the package that is installed for the suite."""
    return (root(column) / file).read_text().splitlines()[line - 1].strip()


def sources(column, part):
    """The program text of a part of a client's package, a file or a folder."""
    path: Path = root(column) / part
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert files, f"{path} holds no program text"
    return {file: file.read_text() for file in files}
