from pathlib import Path

import pytest
from django.conf import settings as configured

from tests.web.scene import Scene, make_scene


@pytest.fixture(scope="session", autouse=True)
def static_root() -> None:
    """WhiteNoise wants the folder it serves from; collecting the files is another test's business."""
    Path(configured.STATIC_ROOT).mkdir(parents=True, exist_ok=True)


@pytest.fixture
def scene(db: None, settings, tmp_path: Path) -> Scene:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    settings.EXPORTS = tmp_path / "exports"
    return make_scene(tmp_path)
