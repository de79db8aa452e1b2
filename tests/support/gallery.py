"""A page from every side: both themes, three widths, what is wrong with it, and pictures where they are wanted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

from tests.support.browser import Visitor
from tests.support.page_checks import problems_of

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (1360, 390, 320)


class Gallery:
    """Looks at a page from every side, and keeps a picture of each if SCREENSHOTS names a folder."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.wrong: dict[str, list[str]] = {}
        folder = os.environ.get("SCREENSHOTS", "")
        self.folder = Path(folder) if folder else None

    def visit(self, path: str, name: str, *, status: int = 200) -> None:
        """Open an address and look."""
        self.visitor.open(path, status=status)
        self.look(name)

    def look(self, name: str) -> None:
        """What is open now, in both themes and three widths; pictures as it opens, checks with everything unfolded."""
        page = self.visitor.page
        if self.folder is not None:
            for width, theme in self._sides(page):
                self._keep(page, f"{name}-{width}-{theme}")
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        self.visitor.page.wait_for_load_state("networkidle")
        for width, theme in self._sides(page):
            for sentence in problems_of(page):
                self.wrong.setdefault(f"{name}: {sentence}", []).append(f"{theme} {width}")

    def _sides(self, page: Page) -> Iterator[tuple[int, str]]:
        """Show the page from each side, one after the other."""
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                yield width, theme
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})

    def _keep(self, page: Page, name: str) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=self.folder / f"{re.sub(r'[^a-z0-9]+', '-', name)}.png", full_page=True)
