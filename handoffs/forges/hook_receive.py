"""The forge's post-receive hook: it wakes the enforcer lane up. A module of its own, since it loads Celery."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from celery import Celery

QUEUE: Final = "enforcer"  # the enforcer lane's, as in the portal's settings


def post_receive(config_path: str) -> int:
    """The post-receive hook: wake the enforcer up. Losing this nudge costs seconds; the sweep finds the commit."""
    refs = [line.split()[-1] for line in sys.stdin]
    if not any(ref.startswith("refs/heads/staging/") for ref in refs):
        return 0
    try:
        config = json.loads(Path(config_path).read_text())
        app = Celery(broker=config["broker_url"])
        app.conf.broker_transport_options = {"socket_connect_timeout": 3, "socket_timeout": 3}
        app.send_task("handoffs.tasks.notice_staging", args=[config["path"]], queue=QUEUE, retry=False)
        sys.stderr.write("leoportal: received; the enforcer lane was told. A commit is a handoff only if its subject\n")
        sys.stderr.write("leoportal: starts with [CODEX-READY:<sha256 of .leo/artifact.tar.gz>]\n")
    except Exception as error:  # noqa: BLE001 - the push has already landed; the sweep repairs a lost nudge
        sys.stderr.write(f"leoportal: received; the enforcer lane finds it within seconds ({type(error).__name__})\n")
    return 0
