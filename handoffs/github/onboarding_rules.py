"""The half of the onboarding check that is about rules: who may get what into which branch. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from handoffs.github.contexts import context_problems
from handoffs.github.findings import GOVERN, LOOK, Case, Finding, judged, unseen
from handoffs.github.live import GITHUB_ACTIONS, Bypass, Classic, Expected, Unseen
from handoffs.github.requirements import (
    DELETION,
    FORCE_PUSH,
    LANES,
    LINEAR,
    PULL,
    Requirements,
    describe,
    requirements_of,
)


def check_names(case: Case) -> Iterator[Finding]:
    """The names of the required checks are literal, clean and different."""
    problems = context_problems(case.expected.contexts)
    yield judged(
        "config.context_name",
        "The names of the required checks are literal",
        good=not problems,
        got="; ".join(problems) or f"{len(case.expected.contexts)} names",
        expected="names without * ? [ ], without spaces at either end, each once",
        step="give the gate another `check_name` in the policy, then " + GOVERN,
    )


def check_rules_stand(case: Case) -> Iterator[Finding]:
    """Rules are in force on the protected branch, and pull requests are the only way in."""
    sentence = f"Rules are in force on {case.expected.branch}"
    if isinstance(case.needs.seen, Unseen):
        yield unseen("config.ruleset", sentence, case.needs.seen, "active rules")
        return
    yield judged(
        "config.ruleset",
        sentence,
        good=case.needs.has(PULL),
        got=describe(case.needs),
        expected="an active rule set (or classic protection) that requires pull requests",
        step=f"{GOVERN}: it writes the rule set and shows what it changes",
    )


def check_contexts(case: Case) -> Iterator[Finding]:
    """Every required context is there, under exactly its name, and nobody but leo-gate can report it."""
    if isinstance(case.needs.seen, Unseen):
        yield unseen("config.contexts", "The gates are required", case.needs.seen, ", ".join(case.expected.contexts))
        return
    names = {check.context for check in case.needs.checks}
    absent = [name for name in case.expected.contexts if name not in names]
    yield judged(
        "config.contexts",
        f"All {len(case.expected.contexts)} gates are required checks, each by its exact name",
        good=not absent,
        got=f"required: {', '.join(sorted(names)) or 'none'}",
        expected=f"also {', '.join(absent)}" if absent else "all of them",
        step=f"{GOVERN}; a check that was renamed by hand is put back",
    )
    loose = [
        f"{check.context}: {_who(check.app_id)}"
        for check in case.needs.checks
        if check.context in case.expected.contexts and check.app_id != case.expected.gate_app
    ]
    yield judged(
        "config.pin",
        "Only leo-gate can report the required checks",
        good=not loose and case.expected.gate_app not in {0, -1, GITHUB_ACTIONS},
        got="; ".join(loose) or f"all pinned to App {case.expected.gate_app}",
        expected=f"integration_id {case.expected.gate_app} on each",
        step=f"{GOVERN}; an unpinned check can be reported by anybody who may push",
    )


def _who(app_id: int | None) -> str:
    match app_id:
        case None | -1:
            return f"any source ({'null' if app_id is None else app_id})"
        case 15368:
            return "GitHub Actions (15368), that is every workflow"
        case _:
            return f"App {app_id}"


def check_current(case: Case) -> Iterator[Finding]:
    """What is merged was checked against the branch as it is: strict, or a queue whose every entry has to pass."""
    sentence = "What lands was judged against the branch as it is"
    if isinstance(case.needs.seen, Unseen):
        yield unseen("config.unsafe", sentence, case.needs.seen, "strict checks or a merge queue")
        return
    required = {check.context for check in case.needs.checks}  # what is not required at all is another finding
    strict = case.needs.is_strict_for([name for name in case.expected.contexts if name in required])
    queue = case.needs.queue
    yield judged(
        "config.unsafe",
        sentence,
        good=strict or queue == "ALLGREEN",
        got=f"strict: {'yes' if strict else 'no'}, merge queue: {queue or 'none'}",
        expected="branches up to date before merging (strict), or a merge queue in which all entries pass (ALLGREEN)",
        step=f"{GOVERN}, or set the queue to require all entries to pass",
    )


def check_bypass(case: Case) -> Iterator[Finding]:
    """The rules hold for everybody, but for the named break-glass team.

    A rule set with a bypass list is no harm where the others demand all of it as well.
    """
    expected, sources = case.expected, case.needs.sources
    team = f"team {expected.break_glass}" if expected.break_glass else ""
    sentence = f"Nobody may bypass the rules{f', but for {team}' if team else ''}"
    if isinstance(case.needs.seen, Unseen):
        yield unseen("config.bypass", sentence, case.needs.seen, team or "nobody")
        return
    read = {ruleset.id: ruleset.bypass for ruleset in case.live.rulesets}
    bypass = {source: read.get(source, Unseen("the rule set was not shown")) for source in sources}
    hidden = {source for source, actors in bypass.items() if isinstance(actors, Unseen)}
    open_to = {
        source: strange
        for source, actors in bypass.items()
        if not isinstance(actors, Unseen) and (strange := [a for a in actors if not _may_break_glass(a, expected)])
    }
    is_held = _holds(case.needs, expected)
    if is_held and _holds(_only(case, set(sources) - hidden - open_to.keys()), expected):
        yield judged("config.bypass", sentence, good=True, got=team or "nobody", expected=team or "nobody", step="")
        return
    if hidden and (not is_held or _holds(_only(case, set(sources) - open_to.keys()), expected)):
        yield from (_unseen_bypass(case, source, sentence, team or "nobody") for source in sorted(hidden))
        if is_held or not open_to:
            return
    names = {ruleset.id: ruleset.name for ruleset in case.live.rulesets}
    problems = [f"{names.get(source, source)}: {actor}" for source, actors in open_to.items() for actor in actors]
    if case.needs.admins_are_free:
        problems.append("administrators, by classic protection")
    yield judged(
        "config.bypass",
        sentence,
        good=not problems and bool(sources or case.needs.is_classic),
        got="; ".join(problems) or ("nobody" if sources or case.needs.is_classic else "no rules at all"),
        expected=team or "nobody",
        step="take them off the rule set's bypass list; for emergencies there is break-glass in the portal",
    )


def _only(case: Case, sources: set[int]) -> Requirements:
    """What is demanded by these rule sets, and by classic protection that holds for administrators, too."""
    rules = case.live.rules
    kept = () if isinstance(rules, Unseen) else tuple(rule for rule in rules if rule.ruleset_id in sources)
    classic = case.live.classic if isinstance(case.live.classic, Classic) and case.live.classic.is_for_admins else None
    return requirements_of(replace(case.live, rules=kept, classic=classic))


def _holds(needs: Requirements, expected: Expected) -> bool:
    """Whether this alone would keep what is not judged out of the branch, and the branch where it is."""
    pinned = {check.context for check in needs.checks if check.app_id == expected.gate_app}
    is_current = needs.is_strict_for(expected.contexts) or needs.queue == "ALLGREEN"
    return is_current and set(expected.contexts) <= pinned and all(map(needs.has, (PULL, FORCE_PUSH, DELETION)))


def _may_break_glass(actor: Bypass, expected: Expected) -> bool:
    is_team = actor.actor_type == "Team" and actor.actor_id == expected.break_glass != 0
    return is_team and actor.mode != "exempt"  # who is exempt leaves no trace at GitHub


def _unseen_bypass(case: Case, source: int, sentence: str, expected: str) -> Finding:
    """Who may bypass is shown to administrators only; that a rule set changed since then is shown to everybody."""
    ruleset, was = case.live.ruleset(source), dict(case.expected.ours).get(source)
    name = ruleset.name if ruleset else f"rule set {source}"
    if ruleset is not None and was is not None and ruleset.updated_at != was:
        return judged(
            "config.changed",
            f"The rule set {name} is as an administrator last saw it",
            good=False,
            got=f"changed at {ruleset.updated_at}",
            expected=f"unchanged since {was}",
            step=LOOK,
        )
    if ruleset is not None and was is not None:
        why = Unseen(f"{name} shows it to administrators only; unchanged since one looked ({was})")
        return unseen("config.changed", sentence, why, expected)
    return unseen("config.bypass", sentence, Unseen(f"{name} shows it to administrators only"), expected)


def check_history_is_kept(case: Case) -> Iterator[Finding]:
    """The protected branch neither goes back nor goes away."""
    for code, what, rule in (
        ("config.force_push", "Force-pushes are off", FORCE_PUSH),
        ("config.deletion", "The branch cannot be deleted", DELETION),
    ):
        if isinstance(case.needs.seen, Unseen):
            yield unseen(code, what, case.needs.seen, f"the rule {rule}")
            continue
        yield judged(
            code,
            what,
            good=case.needs.has(rule),
            got="on" if case.needs.has(rule) else f"no rule {rule}",
            expected=f"the rule {rule}",
            step=GOVERN,
        )


def check_lanes(case: Case) -> Iterator[Finding]:
    """`staging/codex-*` and `feature/*` are made and moved by their lanes only."""
    allowed = {"feature": Bypass("Integration", case.expected.enforcer_app), "staging": case.expected.builders}
    for lane, sample in LANES.items():
        rules, owner = case.live.lanes.get(lane, Unseen("it was not read")), allowed[lane]
        sentence, who = f"Only its lane pushes to {sample.pattern}", str(owner) if owner else "nobody named"
        if isinstance(rules, Unseen):
            yield unseen("config.lanes", sentence, rules, who)
            continue
        of = {kind: [rule.ruleset_id for rule in rules if rule.type == kind] for kind in ("creation", "update")}
        absent = [kind for kind, sources in of.items() if not sources]
        sources = sorted({source for found in of.values() for source in found})
        read = {source: ruleset.bypass for source in sources if (ruleset := case.live.ruleset(source))}
        if not absent and any(isinstance(read.get(source, Unseen("")), Unseen) for source in sources):
            yield from (
                _unseen_bypass(case, source, sentence, who)
                for source in sources
                if isinstance(read.get(source, Unseen("")), Unseen)
            )
            continue
        found = {str(actor) for bypass in read.values() if not isinstance(bypass, Unseen) for actor in bypass}
        yield judged(
            "config.lanes",
            sentence,
            good=not absent and owner is not None and found == {str(owner)},
            got=f"no rule {' and '.join(absent)}" if absent else ", ".join(sorted(found)) or "nobody may push",
            expected=f"creation and update for {who} only",
            step=f"{GOVERN} --builders team:ID (or app:ID)" if owner is None else GOVERN,
        )


def check_staging_history(case: Case) -> Iterator[Finding]:
    """What a builder handed over stays in its branch, also for the builder. Source: MRK-04 of the threat list."""
    sentence, expected = "Nobody rewrites a staging branch", f"the rule {FORCE_PUSH} that nobody bypasses"
    rules = case.live.lanes.get("staging", Unseen("it was not read"))
    if isinstance(rules, Unseen):
        yield unseen("config.lanes", sentence, rules, expected)
        return
    sources = sorted({rule.ruleset_id for rule in rules if rule.type == FORCE_PUSH})
    read = {source: ruleset.bypass for source in sources if (ruleset := case.live.ruleset(source))}
    if hidden := [source for source in sources if isinstance(read.get(source, Unseen("")), Unseen)]:
        yield _unseen_bypass(case, hidden[0], sentence, expected)
        return
    is_good = any(not read[source] for source in sources)
    bypassed = "nobody bypasses it" if is_good else "somebody bypasses it"
    yield judged(
        "config.lanes",
        sentence,
        good=is_good,
        got=bypassed if sources else f"no rule {FORCE_PUSH}",
        expected=expected,
        step=GOVERN,
    )


def check_merge_method(case: Case) -> Iterator[Finding]:
    """Pull requests land in the one way that the expectation says."""
    sentence = f"Pull requests land by {case.expected.merge_method} only"
    if isinstance(case.needs.seen, Unseen):
        yield unseen("config.history", sentence, case.needs.seen, case.expected.merge_method)
        return
    methods = case.needs.merge_methods
    is_linear = case.needs.has(LINEAR)
    yield judged(
        "config.history",
        sentence,
        good=methods == frozenset({case.expected.merge_method}) and is_linear == case.expected.is_linear,
        got=f"{', '.join(sorted(methods)) or 'nothing'}{', linear history' if is_linear else ''}",
        expected=case.expected.merge_method + (", linear history" if case.expected.is_linear else ""),
        step=GOVERN + ("" if case.expected.is_linear else " (or with --linear)"),
    )
