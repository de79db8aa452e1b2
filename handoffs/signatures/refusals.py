"""Evidence that is refused: what every verifier of signatures, roots and statements raises."""

from __future__ import annotations

from audit.coded import CodedError


class RefusedError(CodedError):
    """Evidence that does not hold, or that nobody here can judge. `code` is stable; the rest is for people."""

    def __init__(self, code: str, got: str, expected: str) -> None:
        super().__init__(code, f"got {got}, expected {expected}")
        self.got = got
        self.expected = expected
