"""The role-separation proof of one pull request as a document: JSON for programs and packs, PDF for people.

Source: product.md section 9 ("separation visible per handoff"); SOP section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from fpdf import FPDF, FontFace

from audit.canonical import JsonValue, write_json
from audit.events import Role
from audit.export import Head
from audit.models import LogEntry
from audit.principals import Participation, Principal
from audit.separation import Registry, UnknownPrincipalError, assurance
from handoffs.models import Handoff, PullRequest
from verdicts.duties import read_separation
from verdicts.duty_facts import NOT_COMPUTED
from verdicts.tables import plain

SCHEMA: Final = "leoportal/role-separation/v1"
_SAID: Final = {"ok": "Separated", "broken": "NOT separated", "not_computed": "Nothing broken so far"}
_STATES: Final = {"ok": "holds", "broken": "DOES NOT HOLD", "not_computed": "not computed", "not_needed": "not needed"}


def separation_document(pull: PullRequest, *, size: int | None = None) -> dict[str, JsonValue]:
    """Who did what in which duty, who answers for whom, which rules were looked at, and how it came out."""
    found, registry = read_separation(pull, size=size), Principal.objects.registry(size=size)
    rows = Participation.objects.filter(subject=pull.handoff.chain).select_related("principal").order_by("pk")
    handoffs = Handoff.objects.filter(chain=pull.handoff.chain).order_by("pk").values_list("pk", flat=True)
    return {
        "schema": SCHEMA,
        "repository": pull.repository.full_name,
        "pull": pull.number,
        "chain": pull.handoff.chain,
        "head": pull.head_sha,
        "merge": pull.merge_sha or None,
        "handoffs": list(handoffs),
        "state": found.state,
        "assurance": assurance(registry).value,
        "parts": _parts(rows),
        "circles": {str(row.principal_id): _circle(row.principal_id, registry) for row in rows},
        "acts": [
            {
                "act": act.act, "required": act.required, "by": act.done_by, "role": act.role, "at": plain(act.at),
                "state": act.state, "from": act.note,
            }
            for act in found.acts
        ],
        "rules": [{"rule": rule.rule, "state": rule.state, "found": rule.got} for rule in found.rules],
        "events": found.events,
    }  # fmt: skip


def packed_document(pull: PullRequest, head: Head) -> dict[str, JsonValue]:
    """The document as a pack has it: of the tree of its checkpoint, and of nothing newer.

    `pending` entries about the pull request stand in no leaf of that tree yet. Then its rules are not computed, and
    only the handoffs and the deciders that the tree knows are in it; the next pack has the rest.
    """
    whole = separation_document(pull, size=head.size)
    chain = Handoff.objects.filter(chain=pull.handoff.chain)
    entries = LogEntry.objects.filter(subject__in=[str(handoff) for handoff in chain])
    covered = entries.filter(tree_leaf__index__lt=head.size)
    count = covered.count()
    log: dict[str, JsonValue] = {"size": head.size, "root": head.root}
    found: dict[str, JsonValue] = {**whole, "log": log, "events": count, "pending": entries.count() - count}
    if not found["pending"]:
        return found
    registry, subjects = Principal.objects.registry(size=head.size), {*covered.values_list("subject", flat=True)}
    people = registry.people
    acted = {(people.get(one), duty) for one, duty in covered.values_list("principal", "role").distinct()}
    rows = Participation.objects.filter(subject=pull.handoff.chain).select_related("principal").order_by("pk")
    known = [row for row in rows if row.duty == Role.BUILDER or (people.get(row.principal_id), row.duty) in acted]
    return {
        **found,
        "head": None,
        "merge": None,
        "handoffs": [*sorted(int(subject[2:]) for subject in subjects)],
        "state": NOT_COMPUTED,
        "parts": _parts(known),
        "circles": {str(row.principal_id): _circle(row.principal_id, registry) for row in known},
        "acts": [],
        "rules": [],
    }


def proof_json(pull: PullRequest, head: Head) -> bytes:
    """The document at a tree head, canonical."""
    return write_json({**separation_document(pull), "log": {"size": head.size, "root": head.root}}) + b"\n"


def proof_pdf(pull: PullRequest, head: Head) -> bytes:
    """The same for people. Characters that the built-in font lacks are written as escapes."""
    found = read_separation(pull)
    page = FPDF(format="A4")
    page.set_creation_date(pull.moved_at)
    page.add_page()
    page.set_font("Helvetica", "B", 15)
    page.multi_cell(0, 8, _latin(f"Role separation: {pull.repository.full_name} {pull}"), new_x="LMARGIN", new_y="NEXT")
    page.set_font("Helvetica", size=10)
    lines = (
        pull.title,
        f"Result: {_SAID[found.state]}. Computed from {found.events} events.",
        f"Assurance: {assurance(Principal.objects.registry())}",
        f"Head {pull.head_sha}" + (f", merged as {pull.merge_sha}" if pull.merge_sha else ", not merged"),
        f"Log: {head.size} leaves, root {head.root}",
    )
    for line in lines:
        page.multi_cell(0, 5, _latin(line), new_x="LMARGIN", new_y="NEXT")
    acts = [
        (
            act.act,
            act.required,
            found.names.of(act.done_by) if act.done_by is not None else "-",
            f"{act.at:%Y-%m-%d %H:%M:%S}" if act.at else "-",
            _STATES[act.state],
        )
        for act in found.acts
    ]
    _table(page, "Who did what", ("Action", "Required", "Done by", "When (UTC)", "State"), acts)
    rules = [(rule.rule, _STATES[rule.state], found.names.within(rule.got)) for rule in found.rules]
    _table(page, "Rules", ("Rule", "State", "Found"), rules)
    name = found.names.of
    parts = [(name(one), duty, name(sponsor) if sponsor else "itself") for one, duty, sponsor in found.parts]
    _table(page, "Participants", ("Principal", "Duty", "Who answers"), parts)
    page.set_font("Helvetica", size=8)
    text = "This page repeats what the portal computed. The evidence pack of this pull request proves it offline."
    page.multi_cell(0, 4, text, new_x="LMARGIN", new_y="NEXT")
    return bytes(page.output())


def _table(page: FPDF, title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    page.ln(4)
    page.set_font("Helvetica", "B", 11)
    page.cell(0, 6, title, new_x="LMARGIN", new_y="NEXT")
    page.set_font("Helvetica", size=8)
    with page.table(headings_style=FontFace(emphasis="BOLD"), text_align="LEFT", line_height=4.5) as table:
        for row in (heads, *rows):
            cells = table.row()
            for text in row:
                cells.cell(_latin(text))


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"


def _latin(text: str) -> str:
    """What Latin-1 has, and escapes for the rest: no character is silently another one."""
    plainly = "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
    return plainly.encode("latin-1", "backslashreplace").decode("latin-1")


def _parts(rows: Iterable[Participation]) -> list[JsonValue]:
    people = [(row.principal, row.duty) for row in rows]
    return [{"principal": one.pk, "kind": one.kind, "duty": duty, "answers": one.sponsor_id} for one, duty in people]


def _circle(principal: int, registry: Registry) -> list[JsonValue]:
    try:
        return [*sorted(registry.circle(principal))]
    except UnknownPrincipalError:
        return [principal]
