"""The bare work: a WSGI function that checks the signature, reads the JSON and inserts the row."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson
import psycopg

STORE: Final = """
INSERT INTO leo_webhook_delivery (app, delivery_id, event, body) VALUES (%s, %s, %s, %b)
ON CONFLICT (app, delivery_id) DO NOTHING
"""
SECRET: Final = os.environ["GITHUB_ENFORCER_WEBHOOK_SECRETS"].encode()
_local: Final = threading.local()


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """202 once it is stored."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    made = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(made, environ["HTTP_X_HUB_SIGNATURE_256"]):
        start_response("401 Unauthorized", [])
        return [b""]
    orjson.loads(body)
    if not hasattr(_local, "connection"):
        _local.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        _local.connection.execute("SET ROLE leo_ingest")
    named = (environ["HTTP_X_GITHUB_DELIVERY"], environ["HTTP_X_GITHUB_EVENT"])
    _local.connection.execute(STORE, ("enforcer", *named, body))
    start_response("202 Accepted", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]
