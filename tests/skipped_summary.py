"""One line at the end of a run of tests: how many did not run, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

DESELECTED: pytest.StashKey[Counter[str]] = pytest.StashKey()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count what -m and -k leave out."""
    for item in items:
        kinds = ("real (make real)", "slow (make test-all)")
        known = (kind for kind in kinds if item.get_closest_marker(kind.partition(" ")[0]))
        why = "deselected (-m or -k)" if item.config.option.keyword else next(known, "deselected (-m or -k)")
        item.config.stash.setdefault(DESELECTED, Counter())[why] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist collects by itself, and tells the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["deselected"] = dict(session.config.stash.get(DESELECTED, {}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker collects all tests, so one worker's counts are those of the run."""
    if counts := getattr(node, "workeroutput", {}).get("deselected"):
        node.config.stash[DESELECTED] = Counter(counts)


def cause(reason: str) -> str:
    """The reason of a skip in a few words.

    Args:
        reason: as pytest has it, e.g. `Skipped: needs the package trackio, which is no part of the set-up`.

    Returns:
        What is missing, e.g. `without the package trackio`; a reason of another form in brackets.
    """
    reason = reason.removeprefix("Skipped: ")
    for end in (" (", ", ", ": "):
        reason = reason.split(end)[0]
    return f"without {reason.removeprefix('needs ')}" if reason.startswith("needs ") else f"({reason})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the line."""
    counts = Counter(terminalreporter.config.stash.get(DESELECTED, {}))
    counts.update(cause(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    if counts:
        terminalreporter.write_line("not run: " + ", ".join(f"{count} {why}" for why, count in counts.most_common()))
