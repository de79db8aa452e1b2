"""`python -m bench.trail GOALS ROWS`, started by `bench`: a log of 10,000 and one of ROWS entries, side by side."""

from __future__ import annotations

import csv
import hashlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.paginator import Paginator
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client

from audit.covering import is_covered
from audit.events import Role
from audit.export import WINDOW, Head, TextExport, bounds, log_sheet
from audit.models import LogEntry
from audit.views import PAGE_SIZE
from bench.goals import Measured
from bench.measure import interleave, print_table
from bench.portal.clones import LARGE, SMALL, copy_database
from bench.trail.filling import fill, superuser_url
from leoportal.lanes.agreeing import make_grants
from leoportal.setup import ensure_person
from leoportal.stack.postgres import TESTER

FEW: Final = 10_000
ROUNDS: Final = 21


def main(goals: set[str], rows: int) -> None:
    """Fill both databases, measure what is asked for."""
    call_command("migrate", verbosity=0)
    connection.ensure_connection()
    make_grants(connection.connection, others=frozenset({TESTER}))
    call_command("collectstatic", verbosity=0, interactive=False)
    ensure_person("auditor", Role.AUDITOR)
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="auditor"), backend=settings.AUTHENTICATION_BACKENDS[-1])
    connections.close_all()
    copy_database()
    for name, count in ((SMALL, FEW), (LARGE, rows)):
        print(f"  {name}: {count:,} entries in {fill(name, count):.0f} s", flush=True)
    sizes = {"few": open_database(SMALL), "many": open_database(LARGE)}
    found: list[Measured] = []
    if "goal8" in goals:
        found += goal8(sizes, rows)
    if "goal12" in goals:
        found += goal12(sizes, client, rows)
    if "goal14" in goals:
        found += goal14(sizes, rows)
    print_table(("goal", "above", "below", "ratio", "goal", ""), [row.row() for row in found])


def open_database(name: str) -> BaseDatabaseWrapper:
    """A connection of its own to one of the two databases."""
    connections.databases[name] = {**connections.databases["default"], "NAME": name}
    base = connections.create_connection(name)
    base.alias = "default"
    return base


def use(base: BaseDatabaseWrapper) -> None:
    """What Django means by its database from here on."""
    connections["default"] = base


def goal8(sizes: dict[str, BaseDatabaseWrapper], rows: int) -> list[Measured]:
    """The log as CSV: the portal's way, Django's iterator with the csv module, and COPY that stays in the server."""
    heads = {"few": Head(FEW, ""), "many": Head(rows, "")}

    def ours(size: str) -> None:
        use(sizes[size])
        sheet, head = log_sheet(LogEntry.objects.all()), heads[size]
        text, digest = TextExport(sheet, "csv", head), hashlib.sha256()
        first, last = bounds(sheet, head)
        with tempfile.TemporaryFile() as file:
            for start in range(first, last + 1, WINDOW):
                for block in text.window(start, min(start + WINDOW, last + 1)):
                    file.write(block)
                    digest.update(block)

    def stock() -> None:
        use(sizes["many"])
        with tempfile.TemporaryFile("w+", newline="") as file:
            writer = csv.writer(file)
            for entry in (
                LogEntry.objects.select_related("tree_leaf").order_by("tree_leaf__index").iterator(chunk_size=2000)
            ):
                values = (
                    entry.pk,
                    entry.kind,
                    entry.principal,
                    entry.role,
                    entry.subject,
                    entry.created_at.isoformat(),
                )
                writer.writerow([*values, entry.tree_leaf.index, bytes(entry.leaf_hash).hex()])

    use(sizes["many"])
    sheet = log_sheet(LogEntry.objects.all())
    text = TextExport(sheet, "csv", heads["many"])
    statement, values = text.statement(0, rows)
    with psycopg.connect(superuser_url(LARGE), autocommit=True) as superuser:
        sink = psycopg.ClientCursor(superuser).mogrify(statement.replace("TO STDOUT", "TO '/dev/null'"), values)

        def bare() -> None:
            superuser.execute(sink.encode())

        found = interleave({"x": lambda: ours("many"), "L": bare, "A": stock}, rounds=3, warm_up=1)
    print(f"  goal 8: {rows / found['x'].median * 1000:,.0f} rows a second", flush=True)
    few, many = peak(lambda: ours("few")), peak(lambda: ours("many"))
    return [
        Measured("8", "Django iterator and csv / export", found["A"], found["x"], 8, at_most=False),
        Measured("8", "export / server-only COPY", found["x"], found["L"], 1.2, at_most=True),
        Measured("8", f"peak MiB at {rows:,} / {FEW:,} rows", many, few, 1.1, at_most=True),
    ]


def peak(work: Callable[[], object]) -> float:
    """The most memory this process had meanwhile. Units: MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    work()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def goal12(sizes: dict[str, BaseDatabaseWrapper], client: Client, rows: int) -> list[Measured]:
    """The explorer's whole page, first and middle, through all middleware; a stock Paginator's rows for comparison."""
    middles = {}
    for size, base in sizes.items():
        use(base)
        count = FEW if size == "few" else rows
        middles[size] = LogEntry.objects.get(pk=count // 2).pk

    def page(size: str, address: str) -> Callable[[], object]:
        def ask() -> None:
            use(sizes[size])
            assert client.get(address).status_code == 200

        return ask

    def stock(number: int) -> Callable[[], object]:
        def ask() -> None:
            use(sizes["many"])
            pages = Paginator(LogEntry.objects.select_related("tree_leaf").order_by("-created_at", "-pk"), PAGE_SIZE)
            list(pages.page(number).object_list)

        return ask

    def covered(size: str) -> Callable[[], object]:
        def ask() -> None:
            use(sizes[size])
            assert is_covered([middles[size]])

        return ask

    rivals = {
        "few first": page("few", "/audit/"),
        "many first": page("many", "/audit/"),
        "few middle": page("few", f"/audit/?before={middles['few']}"),
        "many middle": page("many", f"/audit/?before={middles['many']}"),
        "few covered": covered("few"),
        "many covered": covered("many"),
        "stock first": stock(1),
        "stock middle": stock(rows // PAGE_SIZE // 2),
    }
    found = interleave(rivals, rounds=ROUNDS)
    return [
        Measured(
            "12",
            f"explorer, first page, {rows:,} / {FEW:,}",
            found["many first"],
            found["few first"],
            1.15,
            at_most=True,
        ),
        Measured(
            "12",
            f"explorer, middle page, {rows:,} / {FEW:,}",
            found["many middle"],
            found["few middle"],
            1.15,
            at_most=True,
        ),
        Measured(
            "12",
            "stock Paginator's rows alone, first / our whole page",
            found["stock first"],
            found["many first"],
            5,
            at_most=False,
        ),
        Measured(
            "12",
            "stock Paginator's rows alone, middle / our whole page",
            found["stock middle"],
            found["many middle"],
            25,
            at_most=False,
        ),
        Measured(
            "12",
            f"whether an entry is covered, {rows:,} / {FEW:,}",
            found["many covered"],
            found["few covered"],
            1.15,
            at_most=True,
        ),
    ]


def goal14(sizes: dict[str, BaseDatabaseWrapper], rows: int) -> list[Measured]:
    """The explorer's searches, 51 rows each, warm."""
    searches: dict[str, dict[str, Any]] = {}
    for size, base in sizes.items():
        use(base)
        newest = LogEntry.objects.order_by("-pk")[0]
        oldest = LogEntry.objects.order_by("pk")[0]
        third = (newest.created_at - oldest.created_at) / 3
        period = {"created_at__gte": oldest.created_at + third, "created_at__lt": oldest.created_at + 2 * third}
        middle = LogEntry.objects.get(pk=(FEW if size == "few" else rows) // 2)
        searches[size] = {
            "latest": {}, "principal": {"principal": middle.principal}, "action": {"kind": middle.kind},
            "role": {"role": middle.role},
            "subject": {"subject": middle.subject}, "period": period,
            "principal in a period": {"principal": middle.principal, **period},
        }  # fmt: skip

    def run(size: str, name: str) -> Callable[[], object]:
        def ask() -> None:
            use(sizes[size])
            rows = LogEntry.objects.select_related("tree_leaf").defer("leaf", "leaf_hash", "body", "salt")
            list(rows.newest_first().filter(**searches[size][name])[:51])

        return ask

    def by_number() -> None:
        """The period as a filter on pages that go by number: what the explorer did before."""
        use(sizes["many"])
        list(LogEntry.objects.filter(**searches["many"]["principal in a period"]).order_by("-pk")[:51])

    rivals = {f"{size} {name}": run(size, name) for name in searches["few"] for size in sizes}
    found = interleave({**rivals, "by number": by_number}, rounds=ROUNDS)
    told = [
        Measured("14", f"{name}, {rows:,} / {FEW:,}", found[f"many {name}"], found[f"few {name}"], 2.0, at_most=True)
        for name in searches["few"]
    ]
    above, below = found["by number"], found["many principal in a period"]
    return [*told, Measured("14", "principal in a period: pages by number / ours", above, below, 8, at_most=False)]


if __name__ == "__main__":
    main(set(sys.argv[1].split(",")), int(sys.argv[2]))
