"""What the checks of an evidence pack say, what they keep of a leaf, and what their caller has to bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from audit.canonical import JsonValue
from audit.leaves import Leaf, LeafError
from audit.merkle import ProofError
from audit.notes import NoteError
from audit.pack_reading import PackError


class State(StrEnum):
    """How a check came out. BROKEN: the pack is genuine, and what it shows breaks a rule."""

    OK = "ok"
    FAILED = "FAIL"
    BROKEN = "BROKEN"
    GAP = "note"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: State
    check: str
    detail: str


NOT_CHECKED: Final = "not checked"
FALLEN: Final = "it holds, and its key is not trusted any more"


@dataclass(frozen=True)
class Judges:
    """What the trail cannot judge by itself. Each says what is wrong, or nothing.

    NOT_CHECKED is for a signature whose signer the reader did not name, FALLEN for one that holds, by a key that was
    distrusted as of an earlier moment: whether something rested on it is told by the leaves (`pack_trust`).
    `decision` gets the kind and the body of a recorded verdict or decision, and the rules that its policy was enacted
    with; `policy` a policy's text and these rules; `signature` a row of signatures.jsonl and the acts of the pack by
    their place; `artifact` a row with a detached signature and the artifact.tar.gz it is about; `anchor` a Sigstore
    bundle and the SHA-256 of what it has to be about.
    """

    decision: Callable[[str, dict[str, JsonValue], JsonValue], str]
    policy: Callable[[str, JsonValue], str]
    signature: Callable[[dict[str, JsonValue], Mapping[int, Act]], str]
    artifact: Callable[[dict[str, JsonValue], bytes], str]
    anchor: Callable[[bytes, str], str] = lambda _bundle, _digest: NOT_CHECKED


@dataclass(frozen=True)
class Act:
    """What later checks need of a leaf."""

    index: int
    digest: str
    leaf: Leaf
    body: Mapping[str, JsonValue] | None


@dataclass
class Report:
    """The findings so far."""

    findings: list[Finding] = field(default_factory=list)

    def say(self, state: State, check: str, detail: str) -> None:
        """One finding."""
        self.findings.append(Finding(state, check, detail))

    def broken(self, check: str, detail: str) -> None:
        """The pack is genuine, and what it shows breaks a rule."""
        self.say(State.BROKEN, check, detail)

    def gap(self, check: str, detail: str) -> None:
        """Something that is not checked, or not proved."""
        self.say(State.GAP, check, detail)

    def attempt(self, check: str, work: Callable[[], str]) -> None:
        """Run one check; what it says, or why it fails, is a finding."""
        try:
            self.say(State.OK, check, work())
        except (PackError, NoteError, ProofError, LeafError) as error:
            self.say(State.FAILED, check, str(error))
