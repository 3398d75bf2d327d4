"""What commands print: results, with notes about them, to stdout; progress, remarks and errors to stderr.

With --quiet there are results and errors alone: tables, JSON, paths and what failed.
"""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@dataclass
class Settings:
    """Values of the options that all commands have."""

    json: bool = False
    quiet: bool = False
    debug: bool = False


settings = Settings()


def stdout() -> Console:
    """The console of results."""
    from rich.console import Console

    return Console(highlight=False)


def stderr() -> Console:
    """The console of progress and remarks; silent with --quiet."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, quiet=settings.quiet)


def printable(text: str) -> str:
    r"""Text from outside without control characters; line ends stay.

    Examples:
        >>> printable("joy\x1b[2J")
        'joy\ufffd[2J'
    """
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def note(text: str, console: Console | None = None, *, wrapped: bool = True) -> None:
    """Print a sentence about a result, or about what to type next, where the result stands; --quiet hides it.

    Args:
        text: Whole sentences.
        console: Where the result is printed; None for that of results.
        wrapped: Whether lines end at the terminal's width, as of sentences; a command is copied in one line.
    """
    if not settings.quiet:
        _say(console or stdout(), text, wrapped)


def remark(text: str) -> None:
    """Print a remark to stderr, wrapped; --quiet hides it."""
    _say(stderr(), text, True)


def _say(console: Console, text: str, wrapped: bool) -> None:
    lines = printable(text).split("\n")
    if wrapped:  # a path that is longer than a line stays whole, which rich would cut: in two lines it is no path
        lines = [textwrap.fill(line, console.width, break_long_words=False, break_on_hyphens=False) for line in lines]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print an error to stderr, also with --quiet."""
    print(f"mse: {text}", file=sys.stderr)


def emit_json(value: Any) -> None:
    """Print one JSON object as the last thing on stdout; numbers that are not finite become null."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
