"""A log of any length, straight into the tables: leaves as the database writes them, no business behind them."""

from __future__ import annotations

import os
import time
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.portal.clones import triggers_off

# Forty acts a handoff, 500 principals, one entry a second and a half.
ENTRIES: Final = """
INSERT INTO leo_log_entry (id, kind, principal, role, subject, created_at, xid, body, salt, leaf, leaf_hash)
SELECT id, kind, principal, role, subject, at, 1, body, salt, leaf, sha256('\\x00'::bytea || leaf)
FROM (
    SELECT *, convert_to(format(E'leo-audit/v1 %s %s leo_app/leo_plan\\n{"bodySha256":"%s","kind":"%s","principal":%s,'
        '"role":"%s","subject":"%s"}', id, (extract(epoch FROM at) * 1000000)::bigint,
        encode(sha256(salt || body), 'hex'), kind, principal, role, subject), 'UTF8') AS leaf
    FROM (
        SELECT n AS id, (ARRAY['handoff.received','gate.reported','agent.reported','verdict.recorded'])[1 + n % 4]
                AS kind,
            (n * 7919) % 500 AS principal,
            (ARRAY['ENFORCER','REPORTER','REPORTER','PLAN'])[1 + n % 4] AS role, 'H-' || n / 40 AS subject,
            timestamptz '2026-01-01' + n * interval '1.5 seconds' AS at,
            convert_to('{"detail":"' || repeat('x', 150) || '"}', 'UTF8') AS body,
            decode(md5(n::text), 'hex') AS salt
        FROM generate_series(1, COUNT) AS n
    ) AS acts
) AS found
"""
LEAVES: Final = """
INSERT INTO leo_log_leaf (index, entry_id, leaf_hash)
SELECT row_number() OVER (ORDER BY id) - 1, id, leaf_hash FROM leo_log_entry
"""
# Where reading stands. Root and frontier are not those of these leaves: nothing here is integrated or proved.
HEAD: Final = """
INSERT INTO leo_log_head (size, root, frontier, last_xid, last_entry, created_at)
SELECT count(*), sha256(''), '', max(xid), max(id), now() FROM leo_log_entry
"""
# A checkpoint a second, as long as something happens, and a witness's line under each.
CHECKPOINTS: Final = """
INSERT INTO leo_log_checkpoint (id, origin, size, root, note, created_at)
SELECT n, 'bench', n * 5, sha256(n::text::bytea), convert_to(repeat('x', 400), 'UTF8'), now()
FROM generate_series((SELECT coalesce(max(id), 0) + 1 FROM leo_log_checkpoint), COUNT / 5) AS n
"""
COSIGNATURES: Final = """
INSERT INTO leo_log_cosignature (checkpoint_id, witness, line, created_at)
SELECT id, 'witness', repeat('y', 200), now() FROM leo_log_checkpoint c
WHERE NOT EXISTS (SELECT FROM leo_log_cosignature s WHERE s.checkpoint_id = c.id)
"""
TABLES: Final = ("leo_log_leaf", "leo_log_head", "leo_log_entry", "leo_log_checkpoint", "leo_log_cosignature")


def superuser_url(database: str) -> str:
    """The superuser's address of a database."""
    parts = urlsplit(os.environ["BENCH_SUPERUSER_URL"])
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


def fill(database: str, count: int) -> float:
    """Fill one database as its superuser; triggers are off meanwhile. Units: seconds it took."""
    begin = time.monotonic()
    with psycopg.connect(superuser_url(database), autocommit=True) as connection:
        with triggers_off(connection, TABLES):
            (before,) = connection.execute("SELECT coalesce(max(id), 0) FROM leo_log_entry").fetchone() or (0,)
            numbers = f"generate_series({before + 1}::bigint, {count})"
            connection.execute(ENTRIES.replace("generate_series(1, COUNT)", numbers).encode())
            connection.execute(LEAVES)
            connection.execute(HEAD)
            connection.execute(CHECKPOINTS.replace("COUNT", str(count)).encode())
            connection.execute(COSIGNATURES)
        connection.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}".encode())
        connection.execute("CHECKPOINT")
    return time.monotonic() - begin
