"""RunPod's own MCP server (`@runpod/mcp-server`), a management client, spoken to over its stdin and stdout."""

import json
import subprocess

from support.foreign import MODULES
from support.processes import environment

PROGRAM = MODULES / "@runpod" / "mcp-server" / "dist" / "stdio.mjs"


class Mcp:
    """The client in a process of its own, pointed at a server; `with` ends it."""

    def __init__(self, server, key=...):
        self.process = subprocess.Popen(
            ["node", str(PROGRAM)],
            env=environment(
                server.folder / "home",
                RUNPOD_API_KEY=server.key if key is ... else key,
                RUNPOD_API_BASE_URL=server.base,
                RUNPOD_SERVERLESS_API_URL=f"{server.base}/v2",
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.calls = 0
        self._request(
            "initialize",
            protocolVersion="2024-11-05",
            capabilities={},
            clientInfo={"name": "overspill-e2e", "version": "1"},
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def _send(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _request(self, method, **params):
        self.calls += 1
        self._send({"jsonrpc": "2.0", "id": self.calls, "method": method, "params": params})
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self.calls:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError(f"the client ended:\n{self.process.stderr.read()}")

    def call(self, tool, **arguments):
        """What a tool answers: (whether it failed, its text as JSON where it is JSON)."""
        result = self._request("tools/call", name=tool, arguments=arguments)
        text = result["content"][0]["text"]
        try:
            text = json.loads(text)
        except ValueError:
            pass
        return result.get("isError", False), text
