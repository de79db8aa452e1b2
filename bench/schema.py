"""CycloneDX 1.5 by jsonschema-rs and nothing else. As a program: validate one file, exit 1 if it is not valid.

The program is the command-line side of `bench.bundle`: no command that validates an SBOM is among this project's
dependencies, so a Python that imports only the validator stands for it, which is kinder than any of them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import jsonschema_rs
import orjson


def schema_folder() -> Path:
    """Where cyclonedx-python-lib keeps the schemas; found, not imported: only its files are needed."""
    spec = importlib.util.find_spec("cyclonedx")
    if spec is None or spec.origin is None:
        raise RuntimeError("cyclonedx-python-lib is not installed. Next: make venv")
    return Path(spec.origin).parent / "schema" / "_res"


def compile_schema() -> jsonschema_rs.Draft7Validator:
    """The schema with the two it refers to, formats on, nothing fetched: as `handoffs.packages.sbom` compiles it."""
    folder = schema_folder()
    names = ("bom-1.5", "spdx", "jsf-0.82")
    schemas = {name: orjson.loads((folder / f"{name}.SNAPSHOT.schema.json").read_bytes()) for name in names}
    others = [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schemas[name]) for name in names[1:]]
    return jsonschema_rs.Draft7Validator(
        schemas["bom-1.5"], validate_formats=True, registry=jsonschema_rs.Registry(others), offline=True
    )


if __name__ == "__main__":
    sys.exit(0 if compile_schema().is_valid(orjson.loads(Path(sys.argv[1]).read_bytes())) else 1)
