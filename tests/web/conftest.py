from pathlib import Path

import pytest

from tests.web.scene import Scene, make_scene


@pytest.fixture
def scene(db: None, tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path: Path) -> None:
    """WhiteNoise wants the folder it serves from; collecting the files is another test's business."""
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir(exist_ok=True)
