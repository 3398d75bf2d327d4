"""Small media files, made by the tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media.media_files import MediaMaker, write_media


@pytest.fixture
def make_media(tmp_path: Path) -> MediaMaker:
    """`write_media` into the test's own folder."""
    return lambda name, **kwargs: write_media(tmp_path / name, **kwargs)
