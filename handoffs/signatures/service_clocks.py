"""What time the signing services say it is, and where they are.

Not checked: that the Date is true. A service that lies can stop the portal from signing, never make it sign.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import requests

from audit.canonical import JsonError, parse_json
from handoffs.signatures.refusals import RefusedError

ANSWERS_WITHIN: Final = (3.0, 3.0)
_SERVICES: Final = ("caUrls", "rekorTlogUrls", "tsaUrls")


def service_addresses(raw: bytes) -> dict[str, str]:
    """The services a client trust configuration names: host and port, and the address to ask.

    Raises: RefusedError("sigstore.config").
    """
    try:
        config = parse_json(raw, max_bytes=4 << 20)
    except JsonError as error:
        raise RefusedError("sigstore.config", str(error), "a client trust configuration") from None
    match config:
        case {"signingConfig": dict(signing)}:
            pass
        case _:
            raise RefusedError("sigstore.config", "no signingConfig", "a client trust configuration")
    found: dict[str, str] = {}
    for kind in _SERVICES:
        services = signing.get(kind)
        for service in services if isinstance(services, list) else []:
            address = service.get("url") if isinstance(service, dict) else None
            if isinstance(address, str) and urlsplit(address).scheme in {"http", "https"}:
                found.setdefault(urlsplit(address).netloc, address)
    return found


def read_date(address: str) -> datetime | None:
    """What time a service says it is, whatever else it answers; None if it says nothing. Units: whole seconds."""
    try:
        with requests.head(address, timeout=ANSWERS_WITHIN, allow_redirects=False) as answer:
            said = parsedate_to_datetime(answer.headers["Date"])
    except (requests.RequestException, KeyError, ValueError):
        return None
    return said if said.tzinfo else said.replace(tzinfo=UTC)
