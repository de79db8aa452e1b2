"""What the portal's records say of the people behind a bundle: each check is in the catalogue, as it is recorded."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from django.db import connection

from audit import events
from audit.actions import add_identity, append_event, link_identity
from audit.events import Actor, Role
from audit.models import Identity, Kind, Principal
from handoffs.bundles.bundle import Manifest
from handoffs.checks.catalogue import CHECKS, RECORD_CHECKS
from handoffs.contributors import same_change
from handoffs.models import BundleCheck, Handoff, Repository, Status
from handoffs.people import People, find_people, take_parts
from leoportal import setup
from leoportal.setup import OPERATOR
from tests.support.people import make_cast
from tests.support.portal import GOOD_CHANGE, Portal

ROOT = Path(__file__).parents[2]


def recorded(handoff: Handoff) -> dict[str, BundleCheck]:
    return {check.code: check for check in BundleCheck.objects.filter(handoff=handoff)}


@pytest.mark.django_db(transaction=True)
def test_another_sponsor_than_the_registered_one_is_refused(portal: Portal):
    portal.push_bundle(portal.bundle(GOOD_CHANGE, sponsor="opal"))
    handoff = portal.receive()
    assert handoff.status == Status.REFUSED
    found = recorded(handoff)["manifest.sponsor"]
    opal, ada = (f"principal {Principal.objects.get(name=name).pk}" for name in ("opal", "ada"))
    assert (found.outcome, found.got, found.expected) == ("FAILED", opal, ada)


@pytest.mark.django_db(transaction=True)
def test_who_answers_for_the_enforcer_has_not_written_the_change(portal: Portal):
    add_identity(Principal.objects.get(name="opal"), Identity.Kind.EMAIL, "opal@acme.example", by=OPERATOR)
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="opal@acme.example")
    handoff = portal.receive()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, "sod.conflict")
    found = recorded(handoff)["sod.conflict"]
    assert found.outcome == "FAILED"
    assert f"principal {Principal.objects.get(name='opal').pk} took part" in found.got


@pytest.mark.django_db(transaction=True)
def test_somebody_nobody_knows_is_a_check_that_failed(portal: Portal):
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    found = take_parts(handoff, People(None, None, ()), [Actor(10**9, "ghost", Role.BUILDER)], portal.actor("plan"))
    assert found is not None
    assert (found.code, found.outcome) == ("sod.unknown_principal", "FAILED")


def test_only_the_catalogue_makes_results_of_checks():
    """So that a check nobody listed cannot be recorded: whoever adds one has to add it there, and to docs/checks.md."""
    codes = [check.code for check in (*CHECKS, *RECORD_CHECKS)]
    assert len(set(codes)) == len(codes)
    makers = [
        path.relative_to(ROOT).as_posix()
        for app in ("leoportal", "handoffs", "verdicts", "audit")
        for path in sorted((ROOT / app).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("CheckResult")
    ]
    assert set(makers) == {"handoffs/checks/catalogue.py"}


@pytest.mark.parametrize(("role", "is_found"), [(Role.BUILDER, True), (Role.PLAN, False), (Role.REPORTER, False)])
def test_a_builders_id_counts_only_for_who_builds(db, role: Role, is_found: bool):
    make_cast()
    sponsor = setup.ensure_principal("sam", kind=Kind.HUMAN, role=role)
    agent = setup.ensure_principal("agent", kind=Kind.MACHINE, role=role, sponsor=sponsor)
    link_identity(agent, Identity.Kind.BUILDER_ID, "https://b.invalid/agent", proof=Identity.Proof.SET_UP, by=OPERATOR)
    manifest = cast("Manifest", SimpleNamespace(builder_id="https://b.invalid/agent"))
    assert find_people(manifest, ()).builder == (agent if is_found else None)


def test_the_same_change_is_looked_for_by_index(db):
    """Every page of a pull request asks this; without them it reads all handoffs there ever were."""
    entry = append_event(events.REPOSITORY_GOVERNED, OPERATOR, "", {})
    repository = Repository.objects.create(full_name="acme/payments", path="/nowhere", log_entry=entry)
    rows = [
        Handoff(
            repository=repository,
            staging_branch="staging/codex-net",
            staging_commit=f"{number:040x}",
            digest=f"{number:064x}",
            change_digest=f"{number:064x}",
            result_tree=f"{number:040x}",
            chain=f"acme/payments:{number}",
        )
        for number in range(2000)
    ]
    Handoff.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE handoffs_handoff")
        cursor.execute(
            "SET LOCAL enable_hashagg = off; SET LOCAL enable_sort = off"
        )  # there are no events to begin with
    handoff = Handoff(repository=repository, change_digest="a" * 64, result_tree="b" * 40, chain="acme/payments:1")
    plan = same_change(handoff).explain()
    assert "on handoff_by_change" in plan
    assert "on handoff_by_result" in plan
