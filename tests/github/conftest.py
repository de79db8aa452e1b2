from __future__ import annotations

from tests.lanes.conftest import as_role  # noqa: F401  a fixture
