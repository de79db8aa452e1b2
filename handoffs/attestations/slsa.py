"""SLSA, reported honestly: each property of a bundle's build as met, only claimed, or not met, and why.

What a builder says of itself raises nothing. So no level is computed from it: the list says which requirement of which
level the portal saw fulfilled with its own eyes. What the portal did itself is listed apart and marked as observed.
Source: SOP section 10.5; SLSA v1.0 build track, "Producing artifacts"; SLSA v0.2 requirements for hermetic and
parameterless builds, which v1 dropped and the SOP kept.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from audit.canonical import JsonValue
from handoffs.attestations.attestations import PROVENANCE_V02, Statement
from handoffs.checks.evidence import CheckResult, Evidence, Outcome, Unreadable, shown


class Standing(StrEnum):
    """How a property stands."""

    MET = "met"
    CLAIMED = "claimed"
    NOT_MET = "not met"


class Source(StrEnum):
    """Who answers for it. The two are never mixed."""

    BUILDER = "builder-claimed"
    PORTAL = "portal-observed"


@dataclass(frozen=True)
class SlsaProperty:
    """One property. `requirement` is where SLSA or the SOP asks for it; `why` is text for people, safe to print."""

    name: str
    source: Source
    requirement: str
    standing: Standing
    why: str


# What has to hold before anything the statement says is looked at.
_ABOUT_THIS_BUNDLE: Final = (
    "attestation.statement",
    "attestation.predicate",
    "attestation.subjects",
    "attestation.digests",
)
_INPUTS: Final = ("attestation.materials", "attestation.merge_base")


def slsa_properties(evidence: Evidence, results: Collection[CheckResult]) -> tuple[SlsaProperty, ...]:
    """Every property, of the builder's build and of what the portal did with the bundle."""
    passed = {result.code for result in results if result.outcome is Outcome.PASSED}
    statement = evidence.statement
    is_about = not isinstance(statement, Unreadable) and passed.issuperset(_ABOUT_THIS_BUNDLE)
    found = [] if isinstance(statement, Unreadable) or not is_about else _of_statement(evidence, statement, passed)
    if not found:
        why = "there is no provenance of this bundle"
        found = [_builder(name, Standing.NOT_MET, why) for name in _REQUIREMENTS]
    return (*found, *_of_portal(evidence, passed))


def slsa_to_json(properties: Collection[SlsaProperty]) -> list[JsonValue]:
    """The stored and printed form."""
    return [
        {
            "name": item.name,
            "source": item.source.value,
            "requirement": item.requirement,
            "standing": item.standing.value,
            "why": item.why,
        }
        for item in properties
    ]


EXISTS, AUTHENTIC, HOSTED = "Provenance exists", "Provenance is signed by its builder", "Hosted build platform"
UNFORGEABLE, ISOLATED = "Provenance out of the build's reach", "Isolated build"
PARAMETERLESS, HERMETIC = "All inputs in the provenance", "Hermetic and reproducible"
_REQUIREMENTS: Final = {
    EXISTS: "SLSA build level 1",
    AUTHENTIC: "SLSA build level 2; SOP 10.5 non-falsifiable provenance",
    HOSTED: "SLSA build level 2",
    UNFORGEABLE: "SLSA build level 3",
    ISOLATED: "SLSA build level 3; SOP 10.5 isolated builds",
    PARAMETERLESS: "SOP 10.5 parameterless builds",
    HERMETIC: "SOP 10.5 hermetic builds",
}


def _of_statement(evidence: Evidence, statement: Statement, passed: Collection[str]) -> list[SlsaProperty]:
    signature, builder = evidence.signature, shown(statement.builder_id)
    return [
        _builder(EXISTS, Standing.MET, "its subjects are the other members, by their digests"),
        _authentic(evidence, statement),
        _builder(HOSTED, Standing.CLAIMED, f"{builder} says so by its id; the portal does not see where it runs"),
        _builder(
            UNFORGEABLE,
            Standing.CLAIMED if signature and signature.is_verified else Standing.NOT_MET,
            "whether the build can reach what signs, the portal does not see"
            if signature and signature.is_verified
            else "without a verified signature anybody can write this provenance",
        ),
        _isolated(statement),
        _parameterless(statement, passed),
        _hermetic(statement),
    ]


def _authentic(evidence: Evidence, statement: Statement) -> SlsaProperty:
    signature = evidence.signature
    if signature is not None and signature.judged.outcome is not Outcome.CLAIMED:
        standing = Standing.MET if signature.is_verified else Standing.NOT_MET
        return _builder(AUTHENTIC, standing, signature.judged.got)
    if statement.sigstore or statement.envelope:
        return _builder(AUTHENTIC, Standing.CLAIMED, "there is a signature; nobody pinned whose it must be")
    return _builder(AUTHENTIC, Standing.NOT_MET, "unsigned")


def _isolated(statement: Statement) -> SlsaProperty:
    if not statement.claims.run:
        return _builder(ISOLATED, Standing.NOT_MET, "the provenance names no run of a build platform")
    return _builder(ISOLATED, Standing.CLAIMED, f"run {shown(statement.claims.run[:200])}; the portal did not see it")


def _parameterless(statement: Statement, passed: Collection[str]) -> SlsaProperty:
    if not set(_INPUTS) <= set(passed):
        return _builder(PARAMETERLESS, Standing.NOT_MET, "the inputs do not name the repository at the merge base")
    if statement.claims.is_complete is False:
        return _builder(PARAMETERLESS, Standing.NOT_MET, "the provenance says itself that its inputs are incomplete")
    count = len(statement.dependencies)
    why = f"{count} input{'' if count == 1 else 's'} named by digest; that there are no others, the builder says"
    return _builder(PARAMETERLESS, Standing.CLAIMED, why)


def _hermetic(statement: Statement) -> SlsaProperty:
    if statement.claims.is_reproducible:
        return _builder(HERMETIC, Standing.CLAIMED, "the provenance says reproducible; nobody here built it again")
    says = "says that it is not" if statement.predicate_type == PROVENANCE_V02 else "does not say so"
    return _builder(HERMETIC, Standing.NOT_MET, f"the provenance {says}, and nobody here built it again")


def _of_portal(evidence: Evidence, passed: Collection[str]) -> list[SlsaProperty]:
    tree = evidence.facts.result_tree if evidence.facts else None
    applied = "patch.applies" in passed and tree is not None
    base = "merge_base.exists" in passed and "archive.readable" in passed
    return [
        SlsaProperty(
            "The patch gives the same tree again",
            Source.PORTAL,
            "SOP 10.5 hermetic builds, for the portal's own step",
            Standing.MET if applied else Standing.NOT_MET,
            f"git applied it to the merge base without a work tree: {tree}" if applied else "it was not applied",
        ),
        SlsaProperty(
            "All inputs of that are named by digest",
            Source.PORTAL,
            "SOP 10.5 parameterless builds, for the portal's own step",
            Standing.MET if applied and base else Standing.NOT_MET,
            f"the bundle {evidence.digest} and the merge base; nothing else went in"
            if applied and base
            else "the merge base or the bundle could not be read",
        ),
    ]


def _builder(name: str, standing: Standing, why: str) -> SlsaProperty:
    return SlsaProperty(name, Source.BUILDER, _REQUIREMENTS[name], standing, why)
