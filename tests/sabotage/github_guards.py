"""The guards of what is asked for, shown and forged on GitHub."""

from __future__ import annotations

from tests.sabotage.engine import Guard

SHOWN = "tests/github/test_showing.py"
PUT_BACK = f"{SHOWN}::test_labels_and_comments_changed_by_hand_are_put_back_and_are_no_state"
ASKED = "tests/github/test_answering.py"
REFUSED = f"{ASKED}::test_what_is_refused_says_why_and_changes_nothing"
GONE = f"{ASKED}::test_a_comment_that_is_gone_or_another_ones_is_nothing"
TEXT = "tests/github/test_commands.py"
CLASSIC = "tests/github/test_governing.py::test_where_github_has_no_rule_sets_classic_protection_is_written_proved_and_watched"

GITHUB_GUARDS: tuple[Guard, ...] = (
    Guard("handoffs/github/comments.py", "            return comment.is_bot and comment.app_id == self._connection.app_id", "            return True", f"{SHOWN}::test_a_comment_of_somebody_else_with_our_marker_is_nothing"),
    Guard("verdicts/showing.py", "        if row.applied_body and left != row.applied_body:", "        if False:", PUT_BACK),
    Guard("verdicts/showing.py", "        if shown != left:", "        if False:", PUT_BACK),
    Guard("verdicts/showing.py", "label not in changes or us is None or changes[label].actor_id != us.author_id", "True", f"{SHOWN}::test_what_a_dead_worker_wrote_is_found_again"),
    Guard("verdicts/tampering.py", "    if not claims:\n        return False\n", "    return False\n", "tests/github/test_forging.py"),
    Guard("verdicts/answering.py", "comment.author_id != request.actor_id or request.is_edited", "request.is_edited", GONE),
    Guard("verdicts/answering.py", "request.is_edited or comment.updated_at != comment.created_at:", "request.is_edited:", f"{ASKED}::test_an_edited_comment_is_not_acted_on_and_says_so"),
    Guard("verdicts/commands.py", "    if act is not None and actor.role not in MATRIX[act]:", "    if False:", REFUSED),
    Guard("verdicts/commands.py", "    if command.principal.kind != Kind.HUMAN and verb not in _OF_MACHINES:", "    if False:", REFUSED),
    Guard("verdicts/commands.py", "    if command.head_sha and command.head_sha != pull.head_sha:", "    if False:", f"{ASKED}::test_buttons_are_judged_like_commands"),
    Guard("handoffs/github/commands.py", " or digits[:1] == b\"0\"", "", f"{TEXT}::test_near_misses_are_refused"),
    Guard("handoffs/github/markdown.py", "_REFERENCES.sub(lambda found: found[0] + _BREAK, words)", "words", f"{TEXT}::test_text_stays_text"),
    Guard("verdicts/projecting.py", "    if facts.approval is not None and facts.approval.is_override:", "    if facts.approval is not None:", "tests/verdicts/test_projecting.py::test_labels"),
    Guard("handoffs/github/rules_writing.py", "        \"enforce_admins\": True,\n        \"required_pull_request_reviews\"", "        \"enforce_admins\": False,\n        \"required_pull_request_reviews\"", CLASSIC),
    Guard("handoffs/github/rules_writing.py", "            \"contexts\": [],  # GitHub's description wants it; a name in it would be anybody's to report\n", "", CLASSIC),
)  # fmt: skip
