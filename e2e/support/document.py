"""RunPod's OpenAPI document, and exchanges on management routes held against it.

The document is no part of the project: it is looked for in the folder that OVERSPILL_SHARED names (default: `shared`
beside the workspace). Without it nothing is checked, and that is said once.
"""

import functools
import json
import os
from pathlib import Path

import jsonschema_rs

NAME = "runpod-api-v2.openapi.json"
# Said by the document and not by an answer that has no reason to: `Allow` belongs to 405 only.
OPTIONAL_HEADERS = ("connection", "allow")


@functools.cache
def document():
    root = os.environ.get("OVERSPILL_SHARED") or Path(__file__).resolve().parents[3] / "shared"
    path = Path(root) / NAME
    if not path.is_file():
        print(f"management routes are not validated: {path} is missing (OVERSPILL_SHARED names its folder)")
        return None
    return json.loads(path.read_text())


def _resolve(found):
    """What a reference into the document stands for."""
    if isinstance(found, dict) and "$ref" in found:
        steps = found["$ref"].removeprefix("#/").split("/")
        return functools.reduce(lambda within, step: within[step], steps, document())
    return found


def _matches(template, path):
    template, path = template.split("/"), path.split("/")
    pairs = zip(template, path)
    return len(template) == len(path) and all(t.startswith("{") or t == p for t, p in pairs)


def _operation(method, path):
    found = [t for t in document()["paths"] if _matches(t, path)]
    assert found, f"{method} {path}: the document has no such path"
    return document()["paths"][min(found, key=lambda t: t.count("{"))].get(method.lower())


def _check(schema, instance, what):
    whole = {"allOf": [schema], "components": document()["components"]}
    errors = [str(error) for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(instance)]
    assert not errors, f"{what}: {errors}\n{json.dumps(instance)[:2000]}"


def validate(exchange):
    """Fails where an exchange is not what the document says."""
    path = exchange["path"].partition("?")[0]
    what = f"{exchange['method']} {exchange['path']} -> {exchange['status']}"
    operation = _operation(exchange["method"], path)
    if operation is None:
        assert exchange["status"] == 405, f"{what}: the document has no such method"
        return
    responses = operation["responses"]
    response = _resolve(responses.get(str(exchange["status"]), responses.get("default")))
    assert response, f"{what}: the status is not documented"
    for name in response.get("headers", {}):
        name = name.lower()
        assert name in exchange["headers"] or name in OPTIONAL_HEADERS, f"{what}: {name} is missing"
    content = response.get("content")
    if content is None:
        assert not exchange["received"], f"{what}: no body is documented"
        return
    kind = exchange["headers"].get("content-type")
    assert kind in content, f"{what}: content type {kind}"
    if kind != "text/event-stream":
        _check(content[kind]["schema"], json.loads(exchange["received"]), what)
    if exchange["sent"] and exchange["status"] < 300:
        body = _resolve(operation["requestBody"])["content"]["application/json"]["schema"]
        _check(body, json.loads(exchange["sent"]), f"the request of {what}")
