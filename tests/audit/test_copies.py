"""The log's second copy: it follows what is signed, one wrong bit in either is named, and the other puts it right."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction

from audit.copies import compare_copies, restore_copy, restore_database
from audit.copying import CopyError, TileCopy
from audit.events import AuditError
from audit.fsck import check_log
from audit.merkle import root_of
from audit.models import LogCheckpoint, LogLeaf
from audit.notes import SignerKey
from audit.sequencing import read_tile
from audit.signer import LogSigner
from audit.tiles import Tile, nodes_from
from leoportal.lanes.switching import acting_in
from tests.audit.growing import ORIGIN
from tests.audit.tampering import append
from tests.support.log import settle_log

LEAVES = 300


class Kept:
    """A log with its signer and its copy."""

    def __init__(self, folder: Path) -> None:
        self.signer = LogSigner(SignerKey.generate(ORIGIN), folder / "signed.json")
        self.copy = TileCopy(folder / "copy")
        self.keys = (self.signer.key.verifier(),)

    def grow(self, count: int) -> LogCheckpoint:
        append(count)
        settle_log()
        row = self.signer.sign()
        assert row is not None
        return row

    def follow(self, count: int) -> int:
        return self.copy.extend(bytes(self.grow(count).note), read_tile)

    def findings(self) -> list[str]:
        return [f"{found.code}: {found.detail}" for found in compare_copies(self.copy, self.keys).findings]


@pytest.fixture
def kept(transactional_db, tmp_path: Path) -> Kept:
    made = Kept(tmp_path)
    assert made.follow(LEAVES) == LEAVES
    return made


def test_the_copy_is_the_log_as_others_read_it(kept: Kept):
    assert kept.follow(10) == 10
    head = kept.copy.head()
    assert (head.size, head.root) == (LEAVES + 10, root_of(LEAVES + 10, nodes_from(LEAVES + 10, kept.copy.read)))
    for tile in (Tile(-1, 0), Tile(-1, 1, 54), Tile(0, 0), Tile(0, 1, 54), Tile(1, 0, 1)):
        assert (kept.copy.folder / tile.path).read_bytes() == read_tile(tile)
    kept_files = {path.name for path in kept.copy.folder.rglob("*") if path.is_file()}
    assert kept_files == {"checkpoint", "000", "54", "1"}  # of what has grown only the widest is kept
    assert kept.findings() == []


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)


def flip_column(table: str, column: str, where: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only_rows")
        cursor.execute(f"UPDATE {table} SET {column} = set_bit({column}, 20, 1 - get_bit({column}, 20)) WHERE {where}")
        assert cursor.rowcount == 1
        cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows")


ENTRY = "id = (SELECT entry_id FROM leo_log_leaf WHERE index = 271)"
IN_DATABASE: dict[str, Callable[[], None]] = {
    "a leaf": lambda: flip_column("leo_log_entry", "leaf", ENTRY),
    "a leaf's hash": lambda: flip_column("leo_log_entry", "leaf_hash", ENTRY),
    "the placed hash": lambda: flip_column("leo_log_leaf", "leaf_hash", "index = 271"),
    "a tile": lambda: flip_column("leo_log_tile", "hashes", "level = 0"),
    "a tile's root": lambda: flip_column("leo_log_tile", "root", "level = 0"),
}
IN_COPY = ("tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1")


@pytest.mark.threat("AUD-01")
@pytest.mark.parametrize("what", IN_DATABASE)
def test_a_wrong_bit_in_the_database_is_named_and_taken_from_the_copy(kept: Kept, what: str):
    IN_DATABASE[what]()
    (said,) = kept.findings()
    assert said.startswith("copy.database_changed: ")
    assert "in the database is not what was signed. Next: `manage.py log restore database`" in said
    assert check_log(kept.keys)
    before, after = restore_database(kept.copy, kept.keys)
    assert (len(before), after.findings) == (1, [])
    assert check_log(kept.keys) == []
    with pytest.raises(Exception, match="append-only"), transaction.atomic():
        LogLeaf.objects.update(leaf_hash=b"")


@pytest.mark.threat("AUD-01")
@pytest.mark.parametrize("is_gone", [False, True], ids=["flipped", "gone"])
@pytest.mark.parametrize("name", IN_COPY)
def test_a_wrong_file_in_the_copy_is_named_and_written_anew(kept: Kept, name: str, is_gone: bool):
    path = kept.copy.folder / name
    right = path.read_bytes()
    path.unlink() if is_gone else flip(path)
    (said,) = kept.findings()
    assert (
        said
        == f"copy.changed: {path} is not what was signed. Next: `manage.py log restore copy` writes it anew from the database"
    )
    assert check_log(kept.keys) == []
    assert restore_copy(kept.copy, kept.keys).findings == []
    assert path.read_bytes() == right


def test_a_copy_whose_checkpoint_is_not_ours_is_not_believed(kept: Kept):
    raw = (kept.copy.folder / "checkpoint").read_text()
    (kept.copy.folder / "checkpoint").write_text(raw.replace("\n300\n", "\n299\n"))
    (said,) = kept.findings()
    assert said.startswith("copy.checkpoint: ")


@pytest.mark.threat("AUD-01")
def test_one_wrong_bit_in_each_costs_nothing(kept: Kept):
    IN_DATABASE["a leaf"]()
    flip(kept.copy.folder / "tile/entries/000")
    assert sorted(said.partition(":")[0] for said in kept.findings()) == ["copy.changed", "copy.database_changed"]
    restore_copy(kept.copy, kept.keys)
    restore_database(kept.copy, kept.keys)
    assert kept.findings() == []
    assert check_log(kept.keys) == []


@pytest.mark.threat("AUD-01")
def test_a_leaf_that_was_rewritten_with_its_hashes_comes_back_from_the_copy(kept: Kept):
    IN_DATABASE["a leaf"]()
    with transaction.atomic(), connection.cursor() as cursor:
        for table in ("leo_log_entry", "leo_log_leaf"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only_rows")
        anew = "sha256('\\x00'::bytea || leaf)"
        cursor.execute(f"UPDATE leo_log_entry SET leaf_hash = {anew} WHERE {ENTRY}")
        cursor.execute(
            f"UPDATE leo_log_leaf SET leaf_hash = (SELECT leaf_hash FROM leo_log_entry WHERE {ENTRY}) WHERE index = 271"
        )
    (said,) = kept.findings()
    assert said.startswith("copy.database_changed: leaf 271 ")
    assert restore_database(kept.copy, kept.keys)[1].findings == []
    assert check_log(kept.keys) == []


def test_where_both_are_wrong_about_one_leaf_nobody_guesses(kept: Kept):
    IN_DATABASE["a leaf"]()
    IN_DATABASE["a leaf's hash"]()
    IN_DATABASE["the placed hash"]()
    for name in ("tile/entries/001.p/44", "tile/0/001.p/44"):
        path = kept.copy.folder / name
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 44 * 15] + bytes([255]) * 9 + raw[len(raw) // 44 * 15 + 9 :])
    (said,) = kept.findings()
    assert said.startswith("copy.unsure: neither the database nor ")
    with pytest.raises(AuditError, match=r"copy\.unsure"):
        restore_database(kept.copy, kept.keys)


@pytest.mark.threat("AUD-01")
def test_the_copy_takes_only_what_was_signed(kept: Kept):
    row = kept.grow(5)
    flip_column("leo_log_entry", "leaf", "id = (SELECT entry_id FROM leo_log_leaf WHERE index = 302)")
    with pytest.raises(CopyError, match=r"copy\.changed"):
        kept.copy.extend(bytes(row.note), read_tile)
    assert kept.copy.head().size == LEAVES
    with pytest.raises(CopyError, match=r"copy\.ahead"):
        kept.copy.extend(bytes(LogCheckpoint.objects.earliest("pk").note.replace(b"\n300\n", b"\n200\n")), read_tile)


@pytest.mark.parametrize("lane", ["signer", "verifier", "sequencer"])
def test_nobody_but_the_owner_puts_anything_back_into_the_database(kept: Kept, lane: str):
    IN_DATABASE["a leaf"]()
    with pytest.raises(ProgrammingError, match="must be owner"), acting_in(lane):
        restore_database(kept.copy, kept.keys)


def test_the_commands_say_what_is_wrong_and_what_to_do(kept: Kept, settings, tmp_path: Path):
    settings.LOG_COPY, settings.LOG_KEY_FILE = kept.copy.folder, tmp_path / "log.key"
    (tmp_path / "log.vkey").write_text(f"{kept.keys[0].vkey}\n")
    flip(kept.copy.folder / "tile/0/000")
    out = StringIO()
    with acting_in("signer"), pytest.raises(CommandError, match="1 findings"):
        call_command("log", "compare", stdout=out)
    assert "restore copy" in out.getvalue()
    with acting_in("signer"):
        call_command("log", "restore", "copy", stdout=out)
    IN_DATABASE["a leaf"]()
    call_command("log", "restore", "database", stdout=out)
    assert "was copy.database_changed: leaf 271" in out.getvalue()
    with acting_in("signer"):
        call_command("log", "compare", stdout=out)
        call_command("log", "copy", stdout=out)
    assert f"both what was signed\n0 new leaves in {kept.copy.folder}" in out.getvalue()
