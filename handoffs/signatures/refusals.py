"""Evidence that is refused: what every verifier of signatures, roots and statements raises."""

from __future__ import annotations


class RefusedError(Exception):
    """Evidence that does not hold, or that nobody here can judge. `code` is stable; the rest is for people."""

    def __init__(self, code: str, got: str, expected: str) -> None:
        super().__init__(f"{code}: got {got}, expected {expected}")
        self.code = code
        self.got = got
        self.expected = expected

    @property
    def detail(self) -> str:
        """Got and expected, in one line."""
        return f"got {self.got}, expected {self.expected}"
