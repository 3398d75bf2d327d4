"""Fixtures that many tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mse_pipeline.extraction.hosts import kept_hosts
from tests.skipped_summary import (  # noqa: F401 - pytest finds them by their names
    pytest_deselected,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

with suppress(ImportError):
    from absl import logging as absl_logging

    # It keeps the stream of errors of whoever imports it first, which in a test is that test's own, and closes it as
    # soon as a server sets logging up: from then on no test of that process can begin.
    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and golden values beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (real clips, label files, golden values) beside the checkout")
    return SHARED


REAL_MODELS = os.environ.get("MSE_REAL_MODELS")
"""Read before the tests are kept from such settings."""


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Folder of the real models of `make real`; tests that need it have the marker `real` and skip without."""
    if REAL_MODELS is None or not Path(REAL_MODELS).is_dir():
        pytest.skip("needs the real models (make real), whose folder the variable MSE_REAL_MODELS names")
    return Path(REAL_MODELS)


@pytest.fixture(scope="session", autouse=True)
def _own_settings() -> Iterator[None]:
    """No test sees the folders of who runs it; one that needs such a setting makes it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MSE_")]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _settings_of_a_command() -> Iterator[None]:
    """The options of a command that ran in this process end with its test: what follows would be as quiet as it was."""
    yield
    output = sys.modules.get("mse_pipeline.cli.output")
    if output is not None:
        output.settings.json = output.settings.quiet = output.settings.debug = False


@pytest.fixture(scope="session", autouse=True)
def _kept_hosts() -> Iterator[None]:
    """Many tests extract a few clips: they share the processes that have the models loaded."""
    with kept_hosts():
        yield
