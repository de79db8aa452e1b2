"""The role-separation proof of one pull request as OSCAL assessment results: one result, one finding about AC-5.

Every rule and act of the proof is an observation. `satisfied` only if all that is needed holds; what is not computed
does not satisfy. The same pull request at the same tree head gives the same bytes.
Not checked: an assessment plan; there is none, and the document says so.
Source: NIST OSCAL 1.1.2, assessment results model (JSON); NIST SP 800-53 rev. 5, AC-5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from audit.canonical import JsonValue, write_json
from audit.events import numbered
from audit.export import Head
from handoffs.models import PullRequest
from verdicts.duties import Separation, read_separation
from verdicts.duty_facts import OK
from verdicts.separation_proof import SCHEMA
from verdicts.tables import plain

VERSION: Final = "1.1.2"
CONTROL: Final = "ac-5"
_NS: Final = "https://leoportal.invalid/ns/oscal"


def proof_oscal(pull: PullRequest, head: Head) -> bytes:
    """The document at a tree head, canonical."""
    return write_json({"assessment-results": _document(pull, head, read_separation(pull))}) + b"\n"


def _document(pull: PullRequest, head: Head, found: Separation) -> dict[str, JsonValue]:
    name = f"{pull.repository.full_name} {pull}"
    seed = f"{SCHEMA}/{name}/{pull.head_sha}/{head.size}/{head.root}"
    plan = _uuid(seed, "plan")
    observations: list[JsonValue] = [
        {
            "uuid": _uuid(seed, f"observation {number}"), "title": title, "description": said, "methods": ["TEST"],
            "types": ["control-objective"], "collected": plain(pull.moved_at), "props": [_prop("state", state)],
            "relevant-evidence": [{"description": f"The log of {head.size} leaves with the root {head.root}."}],
        }
        for number, (title, said, state) in enumerate(_observed(found))
    ]  # fmt: skip
    related: list[JsonValue] = [
        {"observation-uuid": _uuid(seed, f"observation {number}")} for number in range(len(observations))
    ]
    finding: dict[str, JsonValue] = {
        "uuid": _uuid(seed, "finding"),
        "title": "Separation of duties on one pull request",
        "description": f"The portal computed {found.state} from {found.events} events.",
        "target": {
            "type": "statement-id", "target-id": f"{CONTROL}_smt",
            "status": {
                "state": "satisfied" if found.state == OK else "not-satisfied",
                "reason": {"ok": "pass", "broken": "fail"}.get(found.state, "other"),
            },
        },
        "related-observations": related,
    }  # fmt: skip
    return {
        "uuid": _uuid(seed, "document"),
        "metadata": {
            "title": f"Role separation: {name}", "last-modified": plain(pull.moved_at), "version": str(head.size),
            "oscal-version": VERSION, "props": [_prop("assurance", found.assurance.value)],
        },
        "import-ap": {"href": f"#{plan}"},
        "results": [
            {
                "uuid": _uuid(seed, "result"),
                "title": f"Role separation: {name}",
                "description": f"Head {pull.head_sha}; the log has {head.size} leaves, root {head.root}.",
                "start": plain(pull.handoff.received_at),
                "end": plain(pull.moved_at),
                "reviewed-controls": {"control-selections": [{"include-controls": [{"control-id": CONTROL}]}]},
                "observations": observations,
                "findings": [finding],
            }
        ],
        "back-matter": {
            "resources": [
                {
                    "uuid": plan,
                    "title": "No assessment plan",
                    "description": "The portal computes these results from its log; no plan document exists.",
                }
            ]
        },
    }  # fmt: skip


def _observed(found: Separation) -> Iterator[tuple[str, str, str]]:
    for rule in found.rules:
        yield rule.rule, f"Found: {rule.got or 'nothing'}", rule.state
    for act in found.acts:
        by = "nobody" if act.done_by is None else numbered(act.done_by)
        yield act.act, f"Required {act.required}; by {by}: {act.note or 'no more'}", act.state


def _prop(name: str, value: str) -> JsonValue:
    return {"name": name, "ns": _NS, "value": value}


def _uuid(seed: str, what: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{seed}/{what}"))
