"""Tiny media files of every kind, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checking.trees import write_seeds


@pytest.fixture(scope="session")
def seeds(tmp_path_factory) -> dict[str, Path]:
    """Kind -> file."""
    return write_seeds(tmp_path_factory.mktemp("seeds"))
