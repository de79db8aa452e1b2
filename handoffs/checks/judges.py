"""What judges a check, by name and version: the one place that says so.

The versions are those of the installed packages, read once when this module is imported; git's is asked by the
adapter that runs it and passed in.
"""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import version
from typing import Final

LEOPORTAL: Final = f"leoportal {version('leoportal')}"
_SCHEMA: Final = (
    f"CycloneDX 1.5 schema of cyclonedx-python-lib {version('cyclonedx-python-lib')}, "
    f"jsonschema-rs {version('jsonschema-rs')}"
)
_LICENCES: Final = f"license-expression {version('license-expression')}"


class Judge(StrEnum):
    """Who decides a check besides this code."""

    LEOPORTAL = "leoportal"
    GIT = "leoportal with git"
    SCHEMA = "CycloneDX schema"
    LICENCES = "license-expression"


def tool_of(judge: Judge, git: str) -> str:
    """Name and version of what judged. `git` is git's own, empty where no repository was asked."""
    match judge:
        case Judge.LEOPORTAL:
            return LEOPORTAL
        case Judge.GIT:
            return f"{LEOPORTAL}, {git}" if git else f"{LEOPORTAL}, git not asked"
        case Judge.SCHEMA:
            return _SCHEMA
        case Judge.LICENCES:
            return _LICENCES
