"""A worker is woken up, or not: nothing waits for a broker that is away."""

from __future__ import annotations

import socket
import threading

from celery import Celery
from django.conf import settings

from handoffs import tasks


def test_a_broker_that_hangs_up_is_asked_twice_and_no_more(monkeypatch, caplog):
    """The library itself asks again after two and after four seconds, while somebody waits for the page."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                asked.append(caller)
                caller.close()

        threading.Thread(target=hang_up, daemon=True).start()
        app = Celery(broker=f"redis://127.0.0.1:{server.getsockname()[1]}/0", set_as_current=False)
        app.conf.broker_transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
        monkeypatch.setattr(tasks, "current_app", app)
        tasks.nudge("handoffs.tasks.sweep")
        server.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 2
    assert "the sweep repairs it" in caplog.text
