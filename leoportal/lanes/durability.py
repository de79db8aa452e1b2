"""Whether the server keeps what it acknowledged: "nothing acknowledged is lost" rests on three of its settings.

Not checked: disks and controllers that say they have written what they have not.
"""

from __future__ import annotations

from typing import Final

from leoportal.lanes.catalogue import Connection

CODE: Final = "database.not_durable"
NEEDED: Final = ("fsync", "full_page_writes", "synchronous_commit")
# As the server has them, and as a database or a login overrides them.
SETTINGS: Final = """
SELECT name, setting, format('set it to on in the server''s %%s', source) FROM pg_settings
WHERE name = ANY(%(names)s) AND setting = 'off'
UNION
SELECT split_part(pair, '=', 1), 'off', format('ALTER %%s RESET %%s',
    concat_ws(' IN DATABASE ', CASE WHEN setrole <> 0 THEN 'ROLE ' || pg_get_userbyid(setrole) END,
              CASE WHEN setdatabase <> 0 THEN (SELECT datname FROM pg_database WHERE oid = setdatabase) END),
    split_part(pair, '=', 1))
FROM pg_db_role_setting, unnest(setconfig) AS pair
WHERE split_part(pair, '=', 1) = ANY(%(names)s) AND lower(split_part(pair, '=', 2)) IN ('off', 'false', 'no', '0')
ORDER BY 1, 3
"""


def not_durable(connection: Connection) -> list[str]:
    """What lets a crash take back an act that was acknowledged; a person mends it, in the server's configuration."""
    return [
        f"{CODE}: got {name} = {got}, expected on: a crash could take back what was acknowledged. Next: {where}, "
        "reload, and run this again"
        for name, got, where in connection.execute(SETTINGS, {"names": list(NEEDED)})
    ]
