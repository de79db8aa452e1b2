"""DATABASE: squawk on SQL, and our own pass over Django migrations, which are read and never run.

SQL that a migration carries in a literal `RunSQL` is given to squawk as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from verdicts.findings import AgentKind, AgentResult, Finding, Severity
from verdicts.subagents.change import Change, ChangedFile, is_migration, suffix_of
from verdicts.subagents.examination import Hit, Scan, examine, line_of, not_applicable, pick, read_json, rows

KIND: Final = AgentKind.DATABASE
# squawk's rules; what is not listed is LOW. The INFO ones are style, or ask for what a migration tool does by itself.
SQUAWK_SEVERITIES: Final = (
    ("syntax-error", Severity.MEDIUM),
    ("adding-required-field", Severity.HIGH),
    ("ban-drop-database", Severity.CRITICAL),
    ("ban-drop-table", Severity.HIGH),
    ("ban-truncate-cascade", Severity.HIGH),
    ("ban-drop-column", Severity.MEDIUM),
    ("ban-drop-not-null", Severity.MEDIUM),
    ("changing-column-type", Severity.MEDIUM),
    ("renaming-column", Severity.MEDIUM),
    ("renaming-table", Severity.MEDIUM),
    ("require-concurrent-index-creation", Severity.MEDIUM),
    ("require-concurrent-index-deletion", Severity.MEDIUM),
    ("disallowed-unique-constraint", Severity.MEDIUM),
    ("adding-not-nullable-field", Severity.MEDIUM),
    ("adding-serial-primary-key-field", Severity.MEDIUM),
    ("constraint-missing-not-valid", Severity.MEDIUM),
    ("adding-foreign-key-constraint", Severity.MEDIUM),
    ("prefer-robust-stmts", Severity.INFO),
    ("prefer-bigint-over-int", Severity.INFO),
    ("prefer-bigint-over-smallint", Severity.INFO),
    ("prefer-identity", Severity.INFO),
    ("prefer-text-field", Severity.INFO),
    ("prefer-timestamp-tz", Severity.INFO),
    ("require-lock-timeout", Severity.INFO),
    ("require-statement-timeout", Severity.INFO),
    ("require-timeout-settings", Severity.INFO),
)
# Operations on what already exists, and why each needs a second look.
OPERATIONS: Final = {
    "RemoveField": (Severity.MEDIUM, "drops a column: running code may still read it; remove in two deploys"),
    "DeleteModel": (Severity.MEDIUM, "drops a table: running code may still read it; remove in two deploys"),
    "RenameField": (Severity.MEDIUM, "renames a column: running code still uses the old name"),
    "RenameModel": (Severity.MEDIUM, "renames a table: running code still uses the old name"),
    "AlterField": (Severity.LOW, "may rewrite or lock the table"),
    "AlterUniqueTogether": (Severity.LOW, "builds an index under a lock"),
    "AddIndex": (Severity.LOW, "builds an index under a lock; AddIndexConcurrently does not"),
    "AddConstraint": (Severity.LOW, "checks every row under a lock"),
}


def applies(paths: Sequence[str]) -> str:
    """Applies to SQL files and Django migrations."""
    found = any(suffix_of(path) == ".sql" or is_migration(path) for path in paths)
    return "" if found else f"none of the {len(paths)} changed files is SQL or a migration"


def analyse(change: Change, scanners: Path) -> AgentResult:
    """Judge the change. Never PASSED when squawk had something to read and did not report."""
    reason = applies(change.paths)
    if reason:
        return not_applicable(KIND, change, reason)
    subjects = [path for path in change.paths if suffix_of(path) == ".sql" or is_migration(path)]
    return examine(KIND, change, scanners, SCANS, _own_findings(change), subjects)


def _own_findings(change: Change) -> Iterator[Finding]:
    for file in change.files:
        if file.is_deleted and is_migration(file.path):
            yield change.remark(file, (0, 0), "migration.deleted", Severity.MEDIUM, "a migration was deleted")
        elif not file.is_deleted and is_migration(file.path):
            yield from _migration_findings(change, file)


def _migration_findings(change: Change, file: ChangedFile) -> Iterator[Finding]:
    if file.tree is None:
        yield change.remark(file, (0, 0), "migration.unreadable", Severity.HIGH, "the migration does not parse")
        return
    calls = [node for node in ast.walk(file.tree) if isinstance(node, ast.Call)]
    created = {_text(_argument(call, 0, "name")) for call in calls if _name(call) == "CreateModel"} - {""}
    for call in calls:
        name = _name(call)
        lines = (call.lineno, call.end_lineno or call.lineno)
        model = _text(_argument(call, 0, "model_name")) or _text(_argument(call, 0, "name"))
        if name in OPERATIONS and model.lower() not in {item.lower() for item in created}:
            severity, message = OPERATIONS[name]
            yield change.remark(file, lines, f"migration.{name}", severity, f"{name} {message}")
        elif name == "AddField" and _is_required(call) and model.lower() not in {item.lower() for item in created}:
            message = "adds a required column without a default: fails or locks on a table with rows"
            yield change.remark(file, lines, "migration.AddField", Severity.MEDIUM, message)
        elif name in {"RunPython", "RunSQL"}:
            yield from _run_findings(change, file, call, name)


def _run_findings(change: Change, file: ChangedFile, call: ast.Call, name: str) -> Iterator[Finding]:
    lines = (call.lineno, call.end_lineno or call.lineno)
    reverse = _argument(call, 1, "reverse_code" if name == "RunPython" else "reverse_sql")
    if reverse is None or (isinstance(reverse, ast.Constant) and reverse.value is None):
        message = f"{name} without a way back: the rollback of this change cannot undo it"
        yield change.remark(file, lines, f"migration.{name}", Severity.MEDIUM, message)
    sql = _argument(call, 0, "sql")
    if name == "RunSQL" and file.tree and _literal(sql, file.tree) is None:
        message = "RunSQL with SQL that is not one literal: squawk did not see it"
        yield change.remark(file, lines, "migration.RunSQL", Severity.LOW, message)


def _name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _argument(call: ast.Call, position: int, keyword: str) -> ast.expr | None:
    if len(call.args) > position:
        return call.args[position]
    return next((item.value for item in call.keywords if item.arg == keyword), None)


def _literal(node: ast.expr | None, tree: ast.Module) -> ast.Constant | None:
    """The literal text an expression is, directly or as a name the module assigns once."""
    if isinstance(node, ast.Name):
        values = [
            statement.value
            for statement in ast.walk(tree)
            if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign)
            for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
            if isinstance(target, ast.Name) and target.id == node.id
        ]
        node = values[0] if len(values) == 1 else None
    return node if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_required(call: ast.Call) -> bool:
    """Whether the field of an AddField is NOT NULL and has nothing to fill it with."""
    field = _argument(call, 2, "field")
    if not isinstance(field, ast.Call) or _name(field) in {"ManyToManyField", "GeneratedField"}:
        return False
    given = {item.arg: item.value for item in field.keywords}
    null = given.get("null")
    is_null = isinstance(null, ast.Constant) and null.value is True
    return not is_null and not {"default", "db_default", "auto_now", "auto_now_add"} & set(given)


def literal_sql(file: ChangedFile) -> bytes:
    """The SQL of a migration's literal RunSQL operations, each on the lines where it stands."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(file.tree) if file.tree else ():
        if isinstance(node, ast.Call) and _name(node) == "RunSQL":
            sql = _literal(_argument(node, 0, "sql"), file.tree) if file.tree else None
            if sql:
                found.append((sql.lineno, str(sql.value).rstrip().rstrip(";") + ";"))
    lines: list[str] = []
    for first, text in sorted(found):
        lines.extend([""] * (first - 1 - len(lines)))
        if len(lines) >= first and lines:
            lines[-1] += " " + " ".join(text.split("\n"))
        else:
            lines.extend(text.split("\n"))
    return "\n".join(lines).encode()


def _is_sql(file: ChangedFile) -> bool:
    return suffix_of(file.path) == ".sql"


def _read_squawk(output: bytes) -> Iterator[Hit]:
    severities = dict(SQUAWK_SEVERITIES)
    for row in rows(read_json(output)):
        rule = str(pick(row, "rule_name"))
        first, last = line_of(pick(row, "line")) + 1, line_of(pick(row, "line_end")) + 1
        yield Hit(
            str(pick(row, "file")), first, last, rule, severities.get(rule, Severity.LOW), str(pick(row, "message"))
        )


SCANS: Final = (
    Scan(
        program="squawk",
        distribution="squawk_cli",
        options=("--reporter", "json"),
        accepts=_is_sql,
        exit_codes=frozenset({0, 1}),
        read=_read_squawk,
        severities=SQUAWK_SEVERITIES,
        derived=(".sql", literal_sql),
    ),
)
