"""Start one scanner with low limits and without a network. Run as a script of its own, it imports nothing of ours.

Arguments: the descriptor to report on (`1` no network, `0` network still there), then the command.
A script and not a `preexec_fn`, because that is not safe in a process with threads.
"""

from __future__ import annotations

import os
import resource
import sys

NOT_STARTED = 127
LIMITS = (
    (resource.RLIMIT_CPU, 120),
    (resource.RLIMIT_FSIZE, 64 << 20),
    (resource.RLIMIT_DATA, 4 << 30),
    (resource.RLIMIT_NPROC, 2048),
    (resource.RLIMIT_NOFILE, 512),
    (resource.RLIMIT_CORE, 0),
)


def main(report: int, command: list[str]) -> None:
    """Lower every limit, leave the network, then become the command. Ends with NOT_STARTED when that fails."""
    for which, most in LIMITS:
        _, hard = resource.getrlimit(which)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (value, value))
    os.write(report, b"1" if _leave_network() else b"0")
    os.close(report)
    try:
        os.execv(command[0], command)  # noqa: S606  # this is what a launcher is for
    except OSError:
        os._exit(NOT_STARTED)


def _leave_network() -> bool:
    for flags in (os.CLONE_NEWNET, os.CLONE_NEWUSER | os.CLONE_NEWNET):
        try:
            os.unshare(flags)
        except OSError:
            continue
        return True
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
