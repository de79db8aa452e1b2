"""`python -m bench.portal`, started by `bench.pages`: fill two databases, time every page on both in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.template import TemplateDoesNotExist
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.models import LogEntry
from audit.sequencing import integrate_log
from bench.measure import interleave, print_table, ratio
from bench.portal.clones import FIRST, LARGE, SMALL, Original, copy_database, copy_handoffs, settle
from handoffs.models import PullRequest
from leoportal.lanes.agreeing import make_grants
from leoportal.stack.postgres import TESTER
from tests.support.log import log_running
from tests.support.portal import GOOD_CHANGE, START, Portal
from verdicts.decision import Verdict as VerdictKind
from verdicts.evidence import gather
from verdicts.merging import merge_pull_request

FEW: Final = 100
MANY: Final = 100_000
WAITING: Final = MANY // 10
ROUNDS: Final = 11
SECOND_CHANGE: Final = {
    "payments/taxes.py": START["payments/fees.py"].replace("Fees", "Taxes").replace("fee", "tax"),
    "tests/test_taxes.py": START["tests/test_fees.py"].replace("fees", "taxes").replace("fee", "tax"),
}


@dataclass(frozen=True)
class Page:
    """One address and who asks for it."""

    address: str
    person: str


def main() -> None:
    """Fill, prove, measure."""
    call_command("migrate", verbosity=0)
    connection.ensure_connection()
    make_grants(connection.connection, others=frozenset({TESTER}))
    call_command("collectstatic", verbosity=0, interactive=False)
    begin = time.monotonic()
    merged, waiting = make_originals()
    clients = {name: sign_in(name) for name in ("plan", "auditor")}
    newest = range(MANY - WAITING + 1, MANY + 1)
    connections.close_all()
    copy_database()
    copy_handoffs(SMALL, waiting, newest[-FEW:], is_thin=False)
    copy_handoffs(LARGE, merged, range(1, newest.start), is_thin=True)
    copy_handoffs(LARGE, waiting, newest, is_thin=False)
    few_rows, many_rows = settle(SMALL, waiting), settle(LARGE, waiting)
    seconds = time.monotonic() - begin
    print(
        f"  two handoffs went through the real lanes; with copies {few_rows:,} and {many_rows:,} rows, {seconds:.0f} s."
    )
    print(
        f"  All {FEW} wait for PLAN; of {MANY:,} the newest {WAITING:,} do, with all their rows. The others are merged,"
    )
    print("  with one row in each table: a page that reads a whole table is in truth slower than it looks here.")
    print(f"  Django's test client, signed in, whole middleware; {ROUNDS} rounds; ms")
    one = FIRST + MANY
    prove_copy(waiting.pull.pk, one)
    pages = (
        Page("/turn/", "plan"),
        Page("/prs/", "plan"),
        Page(f"/prs/acme/payments/{one}/", "plan"),
        Page("/handoffs/", "plan"),
        Page(f"/handoffs/{one}/", "plan"),
        Page("/audit/", "auditor"),
    )
    measure(pages, clients)


def make_originals() -> tuple[Original, Original]:
    """One handoff that was merged and one that waits for PLAN's verdict, both through the real lanes."""
    portal = Portal.make(settings.VAR)
    originals: list[Original] = []
    for change, branch, task in (
        (GOOD_CHANGE, "staging/codex-net", "Add net"),
        (SECOND_CHANGE, "staging/codex-tax", "Add taxes"),
    ):
        newest = LogEntry.objects.latest("pk").pk
        pull = portal.verified(change, branch=branch, task=task)
        if not originals:
            with log_running(settings.VAR):
                portal.verdict(VerdictKind.PASS)
                merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
        while integrate_log():
            pass
        originals.append(
            Original.of(PullRequest.objects.select_related("handoff__repository").get(pk=pull.pk), after=newest)
        )
    return originals[0], originals[1]


def prove_copy(original: int, copy: int) -> None:
    """A copy must be judged as the original is: then its rows hang together as the lanes left them."""
    pulls = PullRequest.objects.select_related("handoff").in_bulk((original, copy))
    first, second = (gather(pulls[pk], tree=pulls[pk].handoff.result_tree).judgement for pk in (original, copy))
    assert first.verdict is VerdictKind.PASS, first.reasons
    assert first == second, second.reasons


def sign_in(name: str) -> Client:
    """A browser with a session, which lies in the database that is copied."""
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username=name), backend=settings.AUTHENTICATION_BACKENDS[-1])
    return client


def measure(pages: tuple[Page, ...], clients: dict[str, Client]) -> None:
    """Every page on both databases, in turn."""
    sizes = {"few": open_database(SMALL), "many": open_database(LARGE)}
    candidates: dict[str, Callable[[], object]] = {}
    answered = []
    for page in pages:
        problem = " / ".join({why for base in sizes.values() if (why := ask(base, clients[page.person], page)[1])})
        if problem:
            print(f"  {page.address} skipped: {problem}")
            continue
        answered.append(page)
        for size, base in sizes.items():
            candidates[f"{size} {page.address}"] = lambda b=base, p=page: ask(b, clients[p.person], p)  # type: ignore[misc]
    if not answered:
        return
    found = interleave(candidates, rounds=ROUNDS)
    rows = []
    for page in answered:
        few, many = found[f"few {page.address}"], found[f"many {page.address}"]
        counts = [[count_queries(b, clients[page.person], page) for _ in range(5)] for b in sizes.values()]
        queries = "/".join(str(number) for number in dict.fromkeys(number for found in counts for number, _ in found))
        times = " / ".join(f"{statistics.median(ms for _, ms in found):.0f}" for found in counts)
        rows.append((page.address, str(few), str(many), ratio(many, few), queries, times))
    print_table(("page", f"{FEW} handoffs", f"{MANY:,} handoffs", "ratio", "queries", "SQL ms"), rows)


def open_database(name: str) -> BaseDatabaseWrapper:
    """A connection of its own to one of the two databases."""
    connections.databases[name] = {**connections.databases["default"], "NAME": name}
    base = connections.create_connection(name)
    base.alias = "default"
    return base


def ask(base: BaseDatabaseWrapper, client: Client, page: Page) -> tuple[int, str]:
    """One page through the whole stack of middleware, on one database: how many bytes, and what went wrong."""
    connections["default"] = base
    try:
        response = client.get(page.address)
    except TemplateDoesNotExist as error:
        return 0, f"the template {error} does not exist yet"
    return len(response.content), "" if response.status_code == 200 else f"it answers {response.status_code}"


def count_queries(base: BaseDatabaseWrapper, client: Client, page: Page) -> tuple[int, float]:
    """How many queries a page makes, and their time together."""
    connections["default"] = base
    with CaptureQueriesContext(base) as captured:
        ask(base, client, page)
    return len(captured), sum(float(query["time"]) for query in captured.captured_queries) * 1000


if __name__ == "__main__":
    main()
