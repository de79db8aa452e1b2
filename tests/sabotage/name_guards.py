"""The guards of what is kept: numbers in place of names, and what is personal where it can be erased."""

from __future__ import annotations

from tests.sabotage.engine import Guard

ERASED = "tests/test_names.py::test_who_was_erased_is_named_nowhere_and_everything_still_verifies"
PEOPLE = "tests/handoffs/test_people.py::test_another_sponsor_than_the_registered_one_is_refused"
EXPLORER = "tests/web/test_trail_pages.py::test_the_explorer_filters_by_every_field"
GLASS = "tests/verdicts/test_break_glass.py::test_refused"

NAME_GUARDS: tuple[Guard, ...] = (
    Guard("audit/events.py", "    return f\"principal {principal_id}\"", "    return f\"somebody {principal_id}\"", PEOPLE),
    Guard("audit/actions.py", "f\"{numbered(principal_id)} took part in {subject} as {duty}", "f\"{Principal.objects.get(pk=principal_id).name} took part in {subject} as {duty}", ERASED),
    Guard("audit/actions.py", "    if name.isdigit():", "    if False:", "tests/audit/test_administration.py::test_refused[a name that is a number]"),
    Guard("audit/erasure.py", "    tokens.update(name=name)\n", "", ERASED),
    Guard("audit/forms.py", "        if number is None:", "        if False:", EXPLORER),
    Guard("handoffs/people.py", "            got=_who(claimed),", "            got=claimed,", PEOPLE),
    Guard("handoffs/revocations.py", "\"reason\": text.digest,", "\"reason\": said,", ERASED),
    Guard("handoffs/rotating.py", "\"old\": key.fingerprint, \"reason\": text.digest}", "\"old\": key.fingerprint, \"reason\": text.text}", ERASED),
    Guard("handoffs/fallback.py", "\"justification\": text.digest,", "\"justification\": justification,", "tests/handoffs/test_outages.py::test_openpgp_stands_in_only_after_the_probes_and_lead"),
    Guard("leoportal/web.py", "Refusal(error.code, named(error.detail))", "Refusal(error.code, error.detail)", "tests/web/test_break_glass.py::test_asked_for_opened_seen_everywhere_and_reviewed"),
    Guard("verdicts/break_glass.py", "    take_part(pull.handoff.chain, by)\n", "", f"{GLASS}[reviewed by who built it]"),
)  # fmt: skip
