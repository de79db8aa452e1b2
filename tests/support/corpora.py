"""Cases that other projects wrote. They lie beside the repository, in ../shared/corpora, or where LEO_CORPORA says.

Where they are absent the tests skip and say so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "corpora"
CORPORA = Path(os.environ.get("LEO_CORPORA") or BESIDE)

type Why = Iterable[tuple[str, Collection[str]]]


def all_of(folder: str) -> list[dict[str, Any]]:
    """Every case of a corpus; none where it is absent."""
    path = CORPORA / folder / "cases.json"
    return list(json.loads(path.read_text("utf-8"))["cases"]) if path.is_file() else []


def cases(folder: str) -> list[Any]:
    """The cases as parameters."""
    found = all_of(folder)
    if not found:
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"no corpus {folder} in ../shared/corpora"))]
    return [pytest.param(case, id=case["id"]) for case in found]


def read(folder: str, name: str) -> bytes:
    return (CORPORA / folder / name).read_bytes()


def fits(why: Why, case: dict[str, Any], code: str) -> bool:
    """Whether a refusal is about what the case is about: the first kind whose words are in its id or its `why` counts.

    A case whose words nobody here foresaw has only to be refused.
    """
    said = f"{case['id']} {case['why']}"
    for words, codes in why:
        if re.search(words, said, re.IGNORECASE):
            return code in codes
    return bool(code)
