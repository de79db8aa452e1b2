"""The error of every part: a stable code for programs, got and expected for people."""

from __future__ import annotations


class CodedError(Exception):
    """Something was refused or did not work. `code` is stable, `detail` says got and expected."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
