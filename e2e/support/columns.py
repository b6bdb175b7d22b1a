"""The clients and workers that docs/compatibility.md has a column for, by their published versions."""

import importlib.metadata
import json
from pathlib import Path

_SUITE = Path(__file__).resolve().parents[1]

CLIENT = f"Python client {importlib.metadata.version('runpod')}"
ASYNC_CLIENT = f"Python async client {importlib.metadata.version('runpod')}"
WORKER = f"Python worker {importlib.metadata.version('runpod')}"
HTTP = "plain HTTP"


def _locked(package):
    """The version that `package-lock.json` pins."""
    lock = json.loads((_SUITE / "package-lock.json").read_text())
    return lock["packages"][f"node_modules/{package}"]["version"]


JAVASCRIPT = f"runpod-sdk {_locked('runpod-sdk')}"
AI_SDK = f"@runpod/ai-sdk-provider {_locked('@runpod/ai-sdk-provider')}"
MCP = f"@runpod/mcp-server {_locked('@runpod/mcp-server')}"
LANGCHAIN = "langchain-runpod 0.2.0"
OPENAI = f"openai {importlib.metadata.version('openai')}"

# Each has an environment of its own, `environments/worker-<version>.txt`; oldest first.
OLD_WORKERS = ["0.5.0", "1.6.2", "1.9.1"]


def worker_column(version):
    """The column of a worker by its version."""
    return f"Python worker {version}"


CLIENTS = [CLIENT, ASYNC_CLIENT, JAVASCRIPT, AI_SDK, LANGCHAIN, OPENAI]
WORKERS = [*map(worker_column, OLD_WORKERS), WORKER]
MANAGERS = [MCP]
