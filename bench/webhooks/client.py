"""A client that costs little: one thread, raw sockets, requests made beforehand."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

END: Final = b"\r\n\r\n"


@dataclass
class _Line:
    """One connection: what it sends, and what it got so far."""

    socket: socket.socket
    sending: memoryview = field(default_factory=lambda: memoryview(b""))
    got: bytearray = field(default_factory=bytearray)
    began: float = 0.0


def drive(port: int, requests: Sequence[bytes], *, connections: int) -> tuple[float, list[float]]:
    """Send all requests over kept connections, each its next one when the last was answered.

    Units: seconds; the time of all of them, and of each. Raises: AssertionError for an answer that is not 202.
    """
    waiting = iter(requests)
    times: list[float] = []
    with selectors.DefaultSelector() as selector:
        lines = [_Line(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
        begin = time.perf_counter()
        for line in lines:
            line.socket.settimeout(0)
            line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(line.socket, selectors.EVENT_WRITE, line)
            _begin(line, waiting)
        while len(times) < len(requests):
            ready = selector.select(60)
            assert ready, f"no answer for a minute after {len(times)} of {len(requests)}"
            for key, events in ready:
                line = key.data
                if events & selectors.EVENT_WRITE:
                    if not line.sending:
                        selector.unregister(line.socket)
                        continue
                    line.sending = line.sending[line.socket.send(line.sending) :]
                    if not line.sending:
                        selector.modify(line.socket, selectors.EVENT_READ, line)
                elif _answered(line):
                    times.append(time.perf_counter() - line.began)
                    _begin(line, waiting)
                    selector.modify(line.socket, selectors.EVENT_WRITE, line)
        total = time.perf_counter() - begin
        for line in lines:
            line.socket.close()
    return total, times


def _begin(line: _Line, waiting: Iterator[bytes]) -> None:
    line.sending = memoryview(next(waiting, b""))
    line.began = time.perf_counter()


def _answered(line: _Line) -> bool:
    piece = line.socket.recv(65536)
    assert piece, "the server closed a connection"
    line.got += piece
    head, found, rest = bytes(line.got).partition(END)
    if not found:
        return False
    fields = dict(row.lower().partition(b":")[::2] for row in head.split(b"\r\n")[1:])
    if len(rest) < int(fields.get(b"content-length", b"0")):
        return False
    assert head.startswith(b"HTTP/1.1 202"), head[:200] + rest[:300]
    line.got.clear()
    return True
