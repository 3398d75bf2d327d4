"""One voice of several processes: where torchrun or its like have started the same command many times."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mse_pipeline.training.processes import first_to_fail, launched, leave


@contextmanager
def one_voice() -> Iterator[None]:
    """Let the main process alone print; when something fails, let the process speak that failed first.

    The others fail as a consequence, with errors that say nothing of the cause, and end without a word.
    """
    if not launched():
        yield
        return
    voices = sys.stdout, sys.stderr
    if os.environ.get("RANK") != "0":
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the process's end
    try:
        yield
    except SystemExit:  # of a wrong command line, which is wrong in all of them
        raise
    except BaseException:
        if not first_to_fail():
            sys.exit(1)
        sys.stdout, sys.stderr = voices
        raise
    leave()
