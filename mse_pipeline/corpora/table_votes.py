"""Votes in a table: what several annotators said of a clip -> the share of each class.

They stand in a column a class, ``votes_joy`` and ``votes_anger``, or in one column ``votes``, as ``joy:3;anger:1``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mse_pipeline.cells import is_missing, number_of
from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.table_cells import label_of
from mse_pipeline.errors import did_you_mean
from mse_pipeline.task import Classification, Task

VOTES = "votes"
"""Name of the one column with the votes for all classes."""
OF_A_CLASS = "votes_"
"""Begin of the names of columns with the votes for one class."""
FORMS = "a column votes_CLASS for each class, or one column votes with cells as joy:3;anger:1"

Pairs = Sequence[tuple[str, str]]
"""Classes with the votes for each, as text."""
_TOTALS = frozenset({"total", "sum", "all", "count", "n"})
"""What nobody calls a class: columns of such a name hold the number of all votes."""
_WHOLE = 1e-9
"""Shares that sum to 1 but for so much stay as they are: what was exported comes back the same."""


@dataclass(frozen=True)
class RowVotes:
    """The votes of one row.

    Attributes:
        distribution: Class -> share; empty where there are no votes, or wrong ones.
        written: What the row holds, for messages.
        wrong: Why its votes are refused, as the end of a sentence; empty where they are not.
    """

    distribution: Mapping[str, float]
    written: str = ""
    wrong: str = ""


def is_of_votes(column: str) -> bool:
    """Whether a column holds votes, by its name.

    Examples:
        >>> is_of_votes("votes"), is_of_votes("votes_joy"), is_of_votes("voters")
        (True, True, False)
    """
    return column == VOTES or (column.startswith(OF_A_CLASS) and column != OF_A_CLASS)


def pairs_of(cell: str) -> Pairs:
    r"""Class and votes that a cell of the column `VOTES` names.

    Args:
        cell: ``joy:3;anger:1`` (also with commas or bars); the classes alone, a vote each, ``joy;joy;anger``; a JSON
            object or list of these; or what Python prints of a dict.

    Raises:
        ValueError: It is none of these; the message is the end of a sentence.

    Examples:
        >>> pairs_of("joy:3; anger:1"), pairs_of('{"joy": 3, "\u6012": 1.5}')
        ([('joy', '3'), ('anger', '1')], [('joy', '3'), ('怒', '1.5')])
        >>> pairs_of("joy, joy, anger"), pairs_of("{'joy': 3}")
        ([('joy', '1'), ('joy', '1'), ('anger', '1')], [('joy', '3')])
    """
    try:
        stored = json.loads(cell, object_pairs_hook=list)
    except (ValueError, RecursionError):
        stored = None
    if isinstance(stored, list):
        return [_pair(item) for item in stored]
    plain = cell.strip()
    plain = plain[1:-1] if plain[:1] + plain[-1:] in {"{}", "[]"} else plain
    separator = next((sign for sign in ";|" if sign in plain), ",")
    found = []
    for item in filter(None, map(str.strip, plain.split(separator))):
        name, colon, votes = item.rpartition(":")
        found.append(_pair((name.strip().strip("'\""), votes.strip()) if colon else item.strip("'\"")))
    return found


def _pair(item: object) -> tuple[str, str]:
    if isinstance(item, tuple) and not isinstance(item[1], list | dict):
        return str(item[0]).strip(), "" if item[1] is None else str(item[1])
    if isinstance(item, str) and item.strip() and number_of(item) is None:
        return item.strip(), "1"
    shown = repr(item[:40]) if isinstance(item, str) else "an item of it"
    raise ValueError(f"{shown} names no class with its votes, as joy:3 does")


def read_votes(columns: Mapping[str, Sequence[str]], task: Task, rows: int, delimiter: str = ",") -> list[RowVotes]:
    """What the votes of each row say.

    Args:
        columns: Column name -> cells; those that are `is_of_votes` are read, one a class before the one for all.
        task: What is predicted: votes are for classes. Columns for others than its classes are passed over.
        rows: Their number.
        delimiter: Of the table, see `mse_pipeline.cells.number_of`.
    """
    nothing = [RowVotes({})] * rows
    if not isinstance(task, Classification):
        return nothing
    of_classes = {
        name.removeprefix(OF_A_CLASS): cells
        for name, cells in columns.items()
        if is_of_votes(name) and name not in {VOTES, *_foreign(columns, task)}
    }
    if of_classes:
        pairs: Iterable[Pairs] = ([(name, cells[row]) for name, cells in of_classes.items()] for row in range(rows))
        return [_row("", given, task, delimiter) for given in pairs]
    cells = columns.get(VOTES, ())
    if all(label_of(name, task, delimiter) is None for name in voted_classes({VOTES: cells})):
        return nothing  # the column is about something else, as how often a clip was liked
    return [_row(cell.strip(), None, task, delimiter) for cell in cells]


def _row(cell: str, pairs: Pairs | None, task: Classification, delimiter: str) -> RowVotes:
    if pairs is None and is_missing(cell):
        return RowVotes({})
    given: Pairs = ()
    try:
        given = pairs_of(cell) if pairs is None else pairs
        return RowVotes(distribution_of(given, task, delimiter))
    except ValueError as error:
        return RowVotes({}, cell or ", ".join(f"{name}:{votes.strip()}" for name, votes in given), str(error))


def distribution_of(pairs: Pairs, task: Classification, delimiter: str = ",") -> dict[str, float]:
    """The share of each class that has votes, in the order of the task; empty where all votes are absent.

    Args:
        pairs: Classes with their votes; those of a class that is there twice are added up.
        task: What is predicted.
        delimiter: Of the table.

    Raises:
        ValueError: A class is none of the task's, votes are no numbers from 0 on, or there is none above 0; the
            message is the end of a sentence.

    Examples:
        >>> distribution_of([("joy", "3"), ("anger", "1")], Classification(("anger", "joy", "sad")))
        {'anger': 0.25, 'joy': 0.75}
    """
    votes = dict.fromkeys(task.classes, 0.0)
    told = [(name, number) for name, number in pairs if not is_missing(number)]
    for name, written in told:
        known = label_of(name, task, delimiter)
        if known is None:
            near = did_you_mean(name, task.classes)
            raise ValueError(f"{name[:40]!r} is none of the classes {', '.join(task.classes)}{near}")
        number = number_of(written, delimiter)
        if number is None or number < 0:
            raise ValueError(f"votes and shares are numbers from 0 on, and {written.strip()[:40]!r} is not")
        votes[str(known)] += number
    total = sum(votes.values())
    if not told:
        return {}
    if not 0 < total < math.inf:
        raise ValueError("no class has a vote" if total == 0 else "they are too large to be added up")
    whole = 1.0 if abs(total - 1) < _WHOLE else total
    return {name: number / whole for name, number in votes.items() if number}


def voted_classes(columns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The classes that votes of a table name, in alphabetical order; cells that are no votes are passed over.

    So is a column with the number of all votes, as ``votes_total``.

    Examples:
        >>> voted_classes({"votes_joy": ["3"], "votes_anger": ["1"]}), voted_classes({"votes": ["sad:1", "12", ""]})
        (('anger', 'joy'), ('sad',))
    """
    of_classes = [name.removeprefix(OF_A_CLASS) for name in columns if is_of_votes(name) and name != VOTES]
    named = {name for name in of_classes if name.lower() not in _TOTALS}
    for cell in () if of_classes else columns.get(VOTES, ()):
        try:
            named |= {name for name, _ in pairs_of(cell) if name} if not is_missing(cell) else set()
        except ValueError:
            continue
    return tuple(sorted(named))


def most_voted(distribution: Mapping[str, float]) -> str | None:
    """The class with the most votes; None where several have as many.

    Examples:
        >>> most_voted({"joy": 0.5, "anger": 0.25, "sad": 0.25}), most_voted({"joy": 0.5, "anger": 0.5})
        ('joy', None)
    """
    most = max(distribution.values(), default=0.0)
    first = [name for name, share in distribution.items() if share == most]
    return first[0] if len(first) == 1 else None


def vote_columns(clips: Sequence[Clip]) -> dict[str, list[float | None]]:
    """Columns of a table in which the distributions of clips are told, one a class.

    Examples:
        >>> from mse_pipeline.clip import Split
        >>> some = [Clip(id="a", split=Split.TEST, distribution={"joy": 1.0}), Clip(id="b", split=Split.TEST)]
        >>> vote_columns(some)
        {'votes_joy': [1.0, None]}
    """
    classes = dict.fromkeys(name for clip in clips for name in clip.distribution)
    return {
        OF_A_CLASS + name: [clip.distribution.get(name, 0.0) if clip.distribution else None for clip in clips]
        for name in classes
    }


def _foreign(columns: Mapping[str, Sequence[str]], task: Classification) -> list[str]:
    """Columns of votes for what is none of the classes."""
    voted = [name for name in columns if is_of_votes(name) and name != VOTES]
    return [name for name in voted if label_of(name.removeprefix(OF_A_CLASS), task) is None]


def notes_on_votes(columns: Mapping[str, Sequence[str]], task: Task, clips: Sequence[Clip]) -> list[str]:
    """What should be known of the votes of a table, as sentences; nothing where it has none.

    Args:
        columns: Column name -> cells.
        task: What is predicted.
        clips: What was made of the rows.
    """
    there = [name for name in columns if is_of_votes(name)]
    if not there:
        return []
    if not isinstance(task, Classification):
        return [f"Votes are for classes, and numbers are predicted: {_are_ignored(there)}."]
    voted = [clip for clip in clips if clip.distribution]
    foreign = _foreign(columns, task)
    notes = [f"Votes: {_are_ignored(foreign)}; the classes are {', '.join(task.classes)}."] if foreign else []
    if not voted:
        full = next((cell for name in there for cell in columns[name] if not is_missing(cell)), "")
        held = f", as {full[:40]!r}" if full else ""
        return notes or [f"Votes: {_are_ignored(there)}; no cell holds votes{held}. They are {FORMS}."]
    if VOTES in there and set(there) - {VOTES, *foreign}:
        notes.append(f"Votes: {_are_ignored([VOTES])}; the table has a column of votes for each class.")
    notes.append(
        f"{len(voted):,} of {len(clips):,} clips have votes: training.targets: distribution learns from their shares."
    )
    ties = [clip.id for clip in voted if most_voted(clip.distribution) is None]
    others = [
        clip.id for clip in voted if clip.label is not None and most_voted(clip.distribution) not in (clip.label, None)
    ]
    if "label" in columns and others:
        notes.append(f"The label is not the class with the most votes in {_listed(others)}: the label is kept.")
    if "label" not in columns and ties:
        notes.append(
            f"Several classes have the most votes in {_listed(ties)}: no label; the votes alone are learned from."
        )
    return notes


def _listed(clips: Sequence[str]) -> str:
    return f"{len(clips):,} clip{'s' * (len(clips) > 1)} ({enumerate_some(clips, 3)})"


def _are_ignored(names: Sequence[str]) -> str:
    one = len(names) == 1
    return f"the column{'' if one else 's'} {enumerate_some(names)} {'is' if one else 'are'} ignored"
