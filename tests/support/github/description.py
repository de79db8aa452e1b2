"""GitHub's OpenAPI description: the extract among the corpora, the whole from npm, and its schemas as JSON Schema."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.corpora import CORPORA

PACKAGE = "@octokit/openapi@23.0.2"
SUBSET = CORPORA / "github-openapi" / "api.github.com.subset.json"


@functools.cache
def subset() -> dict[str, Any]:
    return dict(json.loads(SUBSET.read_bytes())) if SUBSET.is_file() else {}


@functools.cache
def package() -> dict[str, Any]:
    """GitHub's whole description, from npm, installed once outside the repository; empty where npm cannot."""
    folder = Path(tempfile.gettempdir()) / f"leoportal-{PACKAGE.replace('/', '-').replace('@', '')}"
    cut = folder / "description.json"
    if not cut.exists():
        if shutil.which("npm") is None:
            return {}
        draft = Path(tempfile.mkdtemp(prefix="leoportal-npm-"))
        (draft / "package.json").write_text("{}")
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", PACKAGE]
        try:
            done = subprocess.run(command, cwd=draft, capture_output=True, text=True, check=False, timeout=120)
        except subprocess.TimeoutExpired:
            return {}
        whole = draft / "node_modules" / "@octokit" / "openapi" / "generated" / "api.github.com.json"
        if done.returncode != 0 or not whole.is_file():
            shutil.rmtree(draft)
            return {}
        shutil.copy(whole, draft / "description.json")
        shutil.rmtree(draft / "node_modules")  # 380 MB of other editions
        try:
            draft.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(draft)
    return dict(json.loads(cut.read_bytes()))


def plain(template: str) -> str:
    """An address without the names of its parameters."""
    return re.sub(r"\{\w+\}", "{}", template)


@functools.cache
def operations(source: str) -> dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]:
    """Shape: (method, plain address) to (operation, description)."""
    whole = subset() if source == "subset" else package()
    return {
        (method.upper(), plain(path)): (one, whole)
        for path, methods in whole.get("paths", {}).items()
        for method, one in methods.items()
        if method in {"get", "post", "put", "patch", "delete"}
    }


def operation(method: str, template: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The corpus is asked first: it is small; the package for what the corpus leaves out."""
    key = (method, plain(template))
    return operations("subset").get(key) or operations("package").get(key)


def converted(schema: Any) -> Any:
    """OpenAPI 3.0's dialect as JSON Schema: ``nullable`` becomes a type, ``$ref`` points into ``$defs``."""
    if isinstance(schema, list):
        return [converted(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return {"$ref": f"#/$defs/{name}"}
    skipped = {"example", "examples", "nullable", "discriminator", "description", "title", "externalDocs", "default"}
    found = {name: converted(value) for name, value in schema.items() if name not in skipped}
    if {one.get("title") for one in schema.get("allOf", [])} == {"Simple User", "Enterprise"}:
        found["anyOf"] = found.pop("allOf")
    if "properties" in schema:
        found["properties"] = {name: converted(value) for name, value in schema["properties"].items()}
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found


def referenced(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        for value in schema.values():
            yield from referenced(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from referenced(value)


def whole_schema(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """With everything it points at, and nothing else."""
    known, waiting = {}, set(referenced(schema))
    while waiting:
        name = waiting.pop()
        if name not in known:
            part = description["components"]["schemas"][name]
            known[name] = converted(part)
            waiting |= set(referenced(part)) - set(known)
    return dict(converted(schema)) | {"$defs": known}


def widened(schema: Any) -> Any:
    """``oneOf`` as ``anyOf``: the description's kinds of answer overlap (an error fits both of 409's)."""
    if isinstance(schema, list):
        return [widened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {("anyOf" if name == "oneOf" else name): widened(value) for name, value in schema.items()}
