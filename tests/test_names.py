"""A handoff with everything that can be written about people on the way; then all of them are erased and looked for."""

from __future__ import annotations

import base64
import io
import re
import tarfile  # noqa: TID251 - a pack of ours is read back
import zipfile  # noqa: TID251 - a spreadsheet of ours is read back
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit import standalone_verifier
from audit.actions import actor_of, issue_token
from audit.administration import Change, approve_change, propose_change
from audit.events import Actor, AuditError, Role
from audit.models import Kind, LogEntry, ProposalKind
from handoffs.models import Lane, SigningKey
from handoffs.rotating import cancel_rotation, request_rotation
from leoportal import setup
from leoportal.lanes.switching import LANE_OF, acting_in
from leoportal.signing_in import record_refusal, record_sign_in
from tests.support.exports import export
from tests.support.people import person
from tests.support.portal import GOOD_CHANGE, Portal
from tests.support.portal_packs import by_command, key_of_the_log, make_pack, sign_log
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass, review_break_glass
from verdicts.comparing import check_everything
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import VerdictError
from verdicts.results import GateOutcome
from verdicts.revoking import Revocation, revoke_key
from verdicts.tables import TABLES

PEOPLE: Final = {
    "barnaby.oddie": Role.BUILDER,
    "priscilla.quimby": Role.PLAN,
    "leopold.zwicky": Role.LEAD,
    "lucretia.zwicky": Role.LEAD,
    "edwina.fane": Role.ENFORCER,
    "rupert.skeffing": Role.REPORTER,
    "augusta.nimmo": Role.AUDITOR,
    "xaviera.plum": Role.ADMIN,
}
MACHINES: Final = {"quillbot": "barnaby.oddie", "storybot": "rupert.skeffing"}
BUILDER_ID: Final = "https://builder.invalid/quill/v1"
# Where a name may stand after its owner was erased, and why. Nothing else may hold one.
EXCEPTIONS: Final = {
    "commits.jsonl": "git's own bytes: the trailers of a merge say who released it, and history is not rewritten",
}


@pytest.fixture
def cast(portal: Portal) -> Portal:
    """People with names that nothing else is called by, beside the usual ones."""
    setup.ensure_builder("quillbot", sponsor="barnaby.oddie", builder_id=BUILDER_ID, email="quill@builder.invalid")
    setup.ensure_policy((BUILDER_ID,))
    rupert = setup.ensure_principal("rupert.skeffing", kind=Kind.HUMAN, role=Role.REPORTER)
    setup.ensure_principal("storybot", kind=Kind.MACHINE, role=Role.REPORTER, sponsor=rupert)
    for name in ("priscilla.quimby", "leopold.zwicky", "lucretia.zwicky", "edwina.fane", "augusta.nimmo"):
        setup.ensure_person(name, PEOPLE[name])
    issue_token(person("storybot"), "on rupert.skeffing's machine", days=9, by=setup.OPERATOR)
    setup.appoint(("xaviera.plum", "yuri", "zoe"))
    return portal


def who(name: str) -> Actor:
    return actor_of(person(name))


def refused(act: Any, code: str) -> None:
    with pytest.raises((AuditError, VerdictError), match=code.replace(".", r"\.")):
        act()


def live_through_it(portal: Portal) -> None:
    """Two bundles, refusals of every kind, a verdict, a broken glass and its review, a merge, keys, sign-ins, exports."""
    portal.push_bundle(portal.bundle(GOOD_CHANGE, sponsor="priscilla.quimby", builder_id=BUILDER_ID))
    assert portal.receive().refusal_code == "manifest.sponsor"
    portal.hand_over(sponsor="barnaby.oddie", builder_id=BUILDER_ID, task="Add net, again")
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS, by="storybot")
    pull = portal.pull()
    plan, lead = who("priscilla.quimby"), who("leopold.zwicky")
    refused(lambda: portal.verdict(VerdictKind.PASS, by="leopold.zwicky"), "role.not_allowed")
    why = "priscilla.quimby looked at all of it."
    portal.verdict(VerdictKind.ESCALATE, by=plan.name, why=why, question="May priscilla.quimby let this pass?")
    refused(lambda: portal.verdict(VerdictKind.PASS, by=plan.name), "verdict.already_recorded")
    refused(lambda: merge_pull_request(pull.pk, portal.tools(), by=replace(plan, role=Role.LEAD)), "merge.no_pass")
    wanted = BreakGlassRequest("Payments are down and leopold.zwicky is on call for them.", "INC-7", pull.head_sha)
    refused(lambda: request_break_glass(pull.pk, wanted, by=replace(plan, role=Role.LEAD)), "sod.conflict")
    glass = request_break_glass(pull.pk, wanted, by=lead)
    refused(lambda: open_break_glass(glass.pk, by=lead), "breakglass.second_person")
    with acting_in("admin"):
        open_break_glass(glass.pk, by=who("xaviera.plum"))
    sign_log()
    merge_pull_request(pull.pk, portal.tools(), by=lead)
    said = "lucretia.zwicky looked at the change after the incident: it does what it says."
    review_break_glass(glass.pk, said, by=who("lucretia.zwicky"))
    with acting_in(LANE_OF[Role.ENFORCER]):
        rotation = request_rotation(Lane.GATE, by=who("edwina.fane"), reason="edwina.fane moves to another machine")
        cancel_rotation(rotation.pk, by=who("edwina.fane"))
        key = SigningKey.objects.get(lane=Lane.ENFORCER)
        lost = Revocation(key.fingerprint, timezone.now(), "edwina.fane lost her laptop on the train")
        revoke_key(lost, password=portal.tools().key_password, by=who("edwina.fane"))
    for name in PEOPLE:
        record_refusal(credentials={"username": name})
    record_sign_in(user=User.objects.get(username="augusta.nimmo"))
    client = auditor("augusta.nimmo")
    export(client, actor="priscilla.quimby")
    client.post(f"/audit/prs/acme/payments/{pull.number}/proof/", {"file_format": "pdf"})


def auditor(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=name), backend="leoportal.roles.SignInBackend")
    return client


def erase(name: str) -> int:
    """Two administrators end the role, then erase who had it. Returns the number that stays."""
    principal = person(name)
    for kind in (ProposalKind.LINK, ProposalKind.END_ROLE, ProposalKind.ERASE):
        detail = {"kind": "email", "value": f"{name}@acme.invalid"} if kind is ProposalKind.LINK else {}
        change = Change(kind, principal, detail, f"{name} leaves at the end of the month.")
        approve_change(propose_change(change, by=who("yuri")).pk, by=who("zoe"))
    return principal.pk


def layers(raw: bytes) -> Iterator[bytes]:
    """Bytes, and what they hold in base64 or deflated."""
    yield raw
    for found in re.findall(rb"[A-Za-z0-9+/_-]{24,}={0,2}", raw):
        try:
            yield base64.b64decode(found.replace(b"-", b"+").replace(b"_", b"/") + b"==")
        except ValueError:
            continue
    for match in re.finditer(rb"stream\r?\n", raw):
        try:
            yield zlib.decompressobj().decompress(raw[match.end() :])
        except zlib.error:
            continue


def names_in(raw: bytes) -> set[str]:
    """Which of the names stand in there, whole or in part of one word."""
    every = b"\n".join(layers(raw)).lower()
    return {name for name in (*PEOPLE, *MACHINES) if name.encode() in every}


COLUMNS: Final = """
SELECT format('%I.%I', table_schema, table_name), quote_ident(column_name), data_type = 'bytea'
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
  AND data_type !~ '^(bigint|integer|smallint|boolean|date|numeric|double|timestamp|interval|uuid)'
ORDER BY 1, 2
"""


def names_in_the_database() -> dict[str, set[str]]:
    """By column, of every table there is, whatever its type: but numbers, truth and times, which hold no names."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        for table, column, is_bytes in cursor.fetchall():
            value = column if is_bytes else f"convert_to({column}::text, 'UTF8')"
            cursor.execute(f"SELECT {value} FROM {table} WHERE {column} IS NOT NULL")
            if names := {name for (raw,) in cursor.fetchall() for name in names_in(bytes(raw))}:
                found[f"{table}.{column}"] = names
    return found


def names_in_a_file(path: Path) -> dict[str, set[str]]:
    """By member, of a pack or a spreadsheet; else of the file."""
    raw = path.read_bytes()
    if raw[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(raw)) as book:
            members = {name: book.read(name) for name in book.namelist()}
    elif path.suffix == ".tar":
        with tarfile.open(path) as pack:
            members = {one.name: file.read() for one in pack if (file := pack.extractfile(one))}
    else:
        members = {path.name: raw}
    return {name: names for name, content in members.items() if (names := names_in(content))}


@pytest.mark.threat("AUD-10")
@pytest.mark.threat("BUN-09")
def test_who_was_erased_is_named_nowhere_and_everything_still_verifies(cast: Portal, settings, tmp_path: Path):
    live_through_it(cast)
    there = names_in_the_database()
    assert set().union(*there.values()) == {*PEOPLE, *MACHINES}, "the search finds what is there"
    assert not {name for name in there if name.startswith("public.leo_log_entry.")}
    leaves = list(LogEntry.objects.order_by("pk").values_list("leaf", flat=True))
    numbers = {name: erase(name) for name in (*MACHINES, *PEOPLE)}
    assert names_in_the_database() == {}
    assert list(LogEntry.objects.order_by("pk").values_list("leaf", flat=True))[: len(leaves)] == leaves
    assert check_everything() == []

    files = fresh_exports(tmp_path, settings)
    found = {name: names for file in files for name, names in names_in_a_file(file).items()}
    assert set(found) == set(EXCEPTIONS), found
    pack = next(file for file in files if file.suffix == ".tar")
    status, said = by_command(pack)
    assert status == 0, [(check, told) for check, told in said.items() if told[0] not in {"ok", "note"}]
    assert standalone_verifier.main([str(pack), "--key", key_of_the_log()]) == 0
    plan = numbers["priscilla.quimby"]
    page = auditor("auditor").get(f"/audit/?actor={plan}").content.decode()
    assert f'data-label="Actor">erased-{plan}</th>' in page
    assert auditor("auditor").get("/audit/?actor=priscilla.quimby").status_code == 422


def fresh_exports(folder: Path, settings) -> list[Path]:
    """Every table in every format, the proofs, and a pack of everything."""
    client, made = auditor("auditor"), []
    for table, _ in TABLES:
        for file_format in ("csv", "jsonl", "xlsx"):
            made.append(folder / f"{table}.{file_format}")
            made[-1].write_bytes(export(client, table=table, file_format=file_format).getvalue())
    for file_format in ("json", "pdf", "oscal"):
        answer = client.post("/audit/prs/acme/payments/1/proof/", {"file_format": file_format})
        made.append(folder / f"proof.{file_format}")
        made[-1].write_bytes(answer.content)
    return [*made, make_pack(settings)]
