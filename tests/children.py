"""What the child processes of the tests do; in a file of its own that imports nothing slow."""

import os
import sys
import time

from mse_pipeline.errors import MseError


def setup():
    return work


def work(item, tell):
    """Does what it is told to."""
    what, value = item
    if what == "print":  # what a library prints goes nowhere, and what it reads is empty
        print(value, flush=True)
        os.write(1, b"more")
        return sys.stdin.read()
    if what == "fail":
        raise MseError(value)
    if what == "pid":
        return os.getpid()
    if what == "variable":
        return os.environ[value]
    tell(f"before {what}")
    if what == "exit":
        os._exit(value)
    if what == "say":
        sys.stderr.write(f"{value}\n")
        raise RuntimeError("told on standard error")
    if what == "once" and not value.exists():
        value.touch()
        os._exit(3)
    if what == "sleep":
        time.sleep(value)
    return value


def no_setup():
    raise MseError("The weights are not there.")
