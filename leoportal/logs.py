"""How the portal's processes write their logs."""

from __future__ import annotations

import json
import logging

from handoffs.scope.secrets import redact


class OneLineFormatter(logging.Formatter):
    """One JSON line a record: control characters in what people and agents sent cannot forge a line.

    Credentials are redacted, also in tracebacks.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Level, logger, message and, for errors, the traceback, as one JSON object."""
        line = {"at": self.formatTime(record), "level": record.levelname, "logger": record.name}
        line["message"] = redact(record.getMessage())
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line)


class CountedElsewhere(logging.Filter):
    """Django says a line for each request that is refused; those of webhooks are counted (`handoffs.views_github`)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by logging for each record of `django.request`."""
        path = getattr(getattr(record, "request", None), "path", "")
        return record.levelno >= logging.ERROR or not str(path).startswith("/github/webhook/")
