"""Migration operations that guard a table by trigger: append-only, say. The grants follow in `leo db lanes`.

The triggers are ENABLE ALWAYS, so that replica mode does not silence them. A table's owner can still disable
them: that is why the portal runs under another login, and why the log is hashed. No operation is undone by migrating
backwards: a later migration that takes a guard away has to say so.
"""

from __future__ import annotations

from django.db import migrations

CREATE_FUNCTION = """
CREATE FUNCTION leo_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""


def create_function() -> migrations.RunSQL:
    """The trigger function. Once, before the first `append_only`."""
    return migrations.RunSQL(CREATE_FUNCTION)


def on_rows(table: str, name: str, when: str, call: str) -> migrations.RunSQL:
    """A trigger for each row, such as "BEFORE INSERT", which calls a function of the database."""
    return migrations.RunSQL(_always(table, name, when, "ROW", call))


def _always(table: str, name: str, when: str, each: str, call: str) -> str:
    return (
        f"CREATE TRIGGER {name} {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {call};\n"
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\n"
    )


def append_only(table: str) -> migrations.RunSQL:
    """Refuse UPDATE, DELETE and TRUNCATE on `table`, whoever asks."""
    return migrations.RunSQL(
        _always(table, "append_only_rows", "BEFORE UPDATE OR DELETE", "ROW", "leo_refuse_change()")
        + _always(table, "append_only_table", "BEFORE TRUNCATE", "STATEMENT", "leo_refuse_change()")
    )


def refuse_truncate(table: str) -> migrations.RunSQL:
    """Refuse TRUNCATE on a table whose rows have a guard of their own."""
    return migrations.RunSQL(_always(table, "append_only_table", "BEFORE TRUNCATE", "STATEMENT", "leo_refuse_change()"))


CREATE_HISTORY_FUNCTION = """
CREATE FUNCTION leo_keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'history: DELETE on % is refused', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    IF to_jsonb(OLD) ->> TG_ARGV[0] IS NOT NULL
        OR (to_jsonb(OLD) - TG_ARGV) IS DISTINCT FROM (to_jsonb(NEW) - TG_ARGV) THEN
        RAISE EXCEPTION 'history: a row of % only ends, and once', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def create_history_function() -> migrations.RunSQL:
    """The trigger function of `keep_history`. Once, before the first of them."""
    return migrations.RunSQL(CREATE_HISTORY_FUNCTION)


def keep_history(table: str, *columns: str) -> migrations.RunSQL:
    """Rows of `table` are never deleted, and only these columns change, until the first of them is set."""
    named = ", ".join(f"'{column}'" for column in columns)
    return migrations.RunSQL(
        _always(table, "history_rows", "BEFORE UPDATE OR DELETE", "ROW", f"leo_keep_history({named})")
        + _always(table, "append_only_table", "BEFORE TRUNCATE", "STATEMENT", "leo_refuse_change()")
    )


CREATE_NAMING_FUNCTION = """
CREATE FUNCTION leo_{name}_{table}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.{column} IS NOT DISTINCT FROM OLD.{column} THEN
            IF ({new}) IS DISTINCT FROM ({old}) THEN
                RAISE EXCEPTION 'log.no_entry: row % of {table} changes {watched} without an entry of the log', OLD.id
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END IF;
    ELSIF NEW.{column} IS NULL THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (
        SELECT FROM leo_log_entry
        WHERE id = NEW.{column} AND xid = pg_current_xact_id()::text::bigint AND {is_kind}
    ) THEN
        RAISE EXCEPTION
            'log.other_entry: {column} of a row of {table} is %, expected an entry of this transaction: {said}',
            coalesce(NEW.{column}::text, 'null') USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION leo_{name}_{table}() FROM PUBLIC;
"""


def names_entry(
    table: str, column: str, *kinds: str, watched: tuple[str, ...] = (), when: str = "BEFORE"
) -> migrations.RunSQL:
    """`column` of `table` names an entry of the transaction that writes it, of one of these kinds, whoever writes it.

    The `watched` columns change only together with it. It runs as the owner, since not every lane reads the log.
    `when` AFTER: what else is wrong with a row is said first. No kinds: of any kind.
    """
    name, updated = f"names_{column}", ", ".join((column, *watched))
    create = CREATE_NAMING_FUNCTION.format(
        name=name,
        table=table,
        column=column,
        new=", ".join(f"NEW.{one}" for one in watched) or "true",
        old=", ".join(f"OLD.{one}" for one in watched) or "true",
        watched=" ".join(watched),
        is_kind=f"kind IN ({', '.join(f"'{kind}'" for kind in kinds)})" if kinds else "true",
        said=" or ".join(kinds) or "any kind",
    )
    return migrations.RunSQL(
        create + _always(table, name, f"{when} INSERT OR UPDATE OF {updated}", "ROW", f"leo_{name}_{table}()")
    )


CREATE_PLACED_FUNCTION = """
CREATE FUNCTION leo_refuse_unplaced() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    named bigint := (to_jsonb(OLD) ->> TG_ARGV[0])::bigint;
BEGIN
    IF named IS NOT NULL AND named IS DISTINCT FROM (to_jsonb(NEW) ->> TG_ARGV[0])::bigint
        AND NOT EXISTS (SELECT FROM leo_log_leaf WHERE entry_id = named) THEN
        RAISE EXCEPTION 'log.not_placed: row % of % still names entry %, which is not in the tree yet',
            OLD.id, TG_TABLE_NAME, named USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION leo_refuse_unplaced() FROM PUBLIC
"""


def create_placed_function() -> migrations.RunSQL:
    """The trigger function of `keeps_until_placed`. Once, before the first of them."""
    return migrations.RunSQL(CREATE_PLACED_FUNCTION)


def keeps_until_placed(table: str, column: str) -> migrations.RunSQL:
    """`column` of `table` names another entry only once the one it names is in the tree."""
    return on_rows(table, f"placed_{column}", f"BEFORE UPDATE OF {column}", f"leo_refuse_unplaced('{column}')")
