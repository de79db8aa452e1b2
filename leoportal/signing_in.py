"""A leaf for each sign-in of a person with a role, and for each that was refused: whose account, never from where.

A wrong password for a name that nobody here has leaves nothing: it may be a password typed into the wrong field.
While the log has an alarm people still sign in, to read what is wrong; that sign-in is in the process's own log only.
"""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.signals import user_logged_in
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.db import transaction

from audit import events
from audit.actions import actor_of, append_event
from audit.events import AuditError
from audit.models import Kind, Principal
from leoportal.lanes.switching import VISITOR, acting_in

log = logging.getLogger(__name__)


def connect() -> None:
    """Listen. allauth's signal is that of a person signing in; Django's is sent by anything that makes a session."""
    user_logged_in.connect(record_sign_in, dispatch_uid="record_sign_in")
    user_login_failed.connect(record_refusal, dispatch_uid="record_refusal")


def record_sign_in(*, user: User, **_more: Any) -> None:
    """Somebody is in."""
    _record(events.SESSION_STARTED, user.username)


def record_refusal(*, credentials: dict[str, Any], **_more: Any) -> None:
    """Somebody is not."""
    _record(events.SESSION_REFUSED, str(credentials.get("username", "")))


def _record(kind: str, username: str) -> None:
    principal = Principal.objects.filter(user__username=username, kind=Kind.HUMAN).first()
    if principal is None:
        return
    try:
        with acting_in(VISITOR), transaction.atomic():
            append_event(kind, actor_of(principal), "", {})
    except AuditError as error:
        log.warning("%s of principal %s is not in the log: %s", kind, principal.pk, error)
