"""mse extractors compare: how far two streams are from each other, in the cache or in another project's file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.cache import pick
from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, note, printable, settings, stderr, stdout
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from mse_pipeline.store.cache import Cache
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.store.features import Features

_SHOWN = 5
_NAME = 30  # characters of a name, so that a row fits into 80 columns


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A stream in the cache: DATASET/STREAM, or DATASET/STREAM@VERSION; in a cache of one dataset STREAM.",
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="Another one, or a feature file of another project: FORMAT:PATH; `mse import` lists formats.",
        ),
    ],
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="Clips that are compared, drawn from the shared ones.")
    ] = 200,
    step: Annotated[
        float | None,
        typer.Option(
            "--step", min=0.001, help="Seconds of the grid. [default: of the slower stream]", show_default=False
        ),
    ] = None,
    bins: Annotated[
        int | None,
        typer.Option("--bins", min=1, help="Compare so many equal parts of each clip, for rows without times."),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream", help="Stream of B's file. [default: its only one of A's modality]", show_default=False
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of B's format, as KEY=VALUE; may be given several times."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the drawn clips and of the shuffles.")] = 0,
    cache: CacheDir = None,
    other_cache: Annotated[
        str | None, typer.Option("--other-cache", help="Cache of B. [default: that of A]", show_default=False)
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare two streams: correlation of each value, canonical correlation (CCA), linear CKA, each beside chance."""
    from mse_pipeline.cli.exchange import parse_options
    from mse_pipeline.inspection import comparison
    from mse_pipeline.store.cache import open_cache

    if step is not None and bins is not None:
        raise UsageError("Give either --step or --bins, not both.")
    opened = open_cache(cache)
    first = _in_cache(a, opened)
    if _is_file(b):
        second = _in_file(b, first, parse_options(option or []), stream)
    else:
        if option or stream:
            raise UsageError("--option and --stream are for a file (FORMAT:PATH), but B is a stream in the cache.")
        second = _in_cache(b, opened if other_cache is None else open_cache(other_cache))
    chosen = _sample(first, second, clips, seed)
    with stderr().status(f"reading {len(chosen)} clips"):
        ours, theirs = dict(first.read(frozenset(chosen))), dict(second.read(frozenset(chosen.values())))
    both = [(ours[one], theirs[other]) for one, other in chosen.items() if one in ours and other in theirs]
    if not both:
        raise UsageError(
            f"{second.name} has no features of the {len(chosen)} clips that it names and {first.name} has."
        )
    with stderr().status("comparing"):
        pairs = comparison.pair(both, step=step, bins=bins)
        told = {"a": first.name, "b": second.name, **comparison.to_dict(pairs, comparison.compare(pairs, seed))}
    if settings.json:
        emit_json(told)
    else:
        _show(told)


@dataclass(frozen=True)
class Source:
    """A stream, wherever it is.

    Attributes:
        name: For people.
        modality: acoustic, visual or text.
        dataset: The dataset of the cache that it is in; None for a file.
        clips: Those that have features.
        read: Clip id and features of some clips, one after the other.
    """

    name: str
    modality: str
    dataset: Dataset | None
    clips: frozenset[str]
    read: Callable[[frozenset[str]], Iterable[tuple[str, Features]]]


def _in_cache(text: str, cache: Cache) -> Source:
    name, slash, rest = text.rpartition("/")
    stream, _, version = rest.partition("@")
    if not stream or bool(name) != bool(slash) or (not slash and "." not in stream):
        raise UsageError(
            f"{text!r} names no stream: write DATASET/STREAM, as in meld/acoustic.egemaps, or FORMAT:PATH for a file. "
            "`mse cache ls` lists the datasets."
        )
    dataset = pick(cache, name or None, "mse extractors compare DATASET/STREAM, with DATASET one of")
    view = dataset.native(stream, version or None)
    return Source(text, stream.partition(".")[0], dataset, frozenset(view), view.in_order)


def _is_file(text: str) -> bool:
    """Whether B is FORMAT:PATH; a stream's name has no colon."""
    return ":" in text


def _in_file(text: str, other: Source, options: dict[str, str], stream: str | None) -> Source:
    from mse_pipeline.exchange import registry

    form, _, path = text.partition(":")
    imported = registry.read(
        form, Path(path).expanduser(), options, other.dataset if registry.find(form).extends else None
    )
    fitting = [name for name in imported.streams if name.partition(".")[0] == other.modality]
    if stream is None and len(fitting) == 1:
        stream = fitting[0]
    if stream is None or stream not in imported.streams:
        asked = f"has no stream {stream!r}" if stream else f"has {len(fitting)} {other.modality} streams"
        raise UsageError(f"{path} {asked}; it has {', '.join(imported.streams)}. Choose one with --stream.")
    items = imported.streams[stream]

    def read(only: frozenset[str]) -> Iterator[tuple[str, Features]]:
        left = set(only)
        for clip, features in items():
            if clip in left:
                yield clip, features
                left.discard(clip)
                if not left:
                    return

    return Source(f"{stream} of {path}", other.modality, None, frozenset(clip.id for clip in imported.clips), read)


def _sample(a: Source, b: Source, count: int, seed: int) -> dict[str, str]:
    """Some of the clips that both have: ids of A with those of B.

    Files of other projects often lack the split that ours begin with (``train/dia0_utt0``): where no id is the same,
    the rest of it counts, if it is unique.

    Raises:
        UsageError: There are none.
    """
    import numpy as np

    shared = {clip: clip for clip in sorted(a.clips & b.clips)}
    if not shared:
        bare_a, bare_b = _by_bare_id(a.clips), _by_bare_id(b.clips)
        shared = {bare_a[name]: bare_b[name] for name in sorted(bare_a.keys() & bare_b.keys())}
    if not shared:
        seen = (f"{side.name} has {len(side.clips)} clips{_first(side.clips)}" for side in (a, b))
        raise UsageError(
            f"The streams share no clip: {'; '.join(seen)}. Compare streams of one corpus, by the same ids."
        )
    if len(shared) <= count:
        return shared
    drawn = np.random.default_rng(seed).choice(len(shared), count, replace=False)
    ids = list(shared)
    return {ids[k]: shared[ids[k]] for k in sorted(drawn)}


def _by_bare_id(clips: Iterable[str]) -> dict[str, str]:
    """Ids by what is left of them without the split; ambiguous ones are left out.

    Examples:
        >>> _by_bare_id(["train/a", "test/a", "valid/b", "c"])
        {'b': 'valid/b', 'c': 'c'}
    """
    splits = tuple(f"{split.value}/" for split in Split)
    found: dict[str, list[str]] = {}
    for clip in clips:
        bare = clip.partition("/")[2] if clip.startswith(splits) else clip
        found.setdefault(bare, []).append(clip)
    return {bare: ids[0] for bare, ids in found.items() if len(ids) == 1}


def _first(clips: frozenset[str]) -> str:
    return f", as {min(clips)!r}" if clips else ""


def _show(told: Mapping[str, Any]) -> None:
    """Print the numbers, and the values that agree least and most."""
    console = stdout()
    console.print(f"A: {printable(told['a'])}\nB: {printable(told['b'])}", markup=False)
    left = "".join(f", {count} left out ({reason})" for reason, count in told["clips_left_out"].items())
    console.print(
        f"{told['clips']:,} clips{left};{' thinned to' if told['thinned'] else ''} {told['rows']:,} rows "
        f"({told['clock']}), {told['rows_with_all_values']:,} with all values",
        markup=False,
    )
    found = told["correlation"]
    matched = {"name": "r, values by name", "place": "r, values by place", None: "r, best partner"}[found["matched_by"]]
    numbers = Table(box=SIMPLE_HEAD)
    for column in ("measure", "value", "by chance", "of"):
        numbers.add_column(column, justify="right" if column in {"value", "by chance"} else "left", no_wrap=True)
    values, used = told["values"], told["values_used"]
    numbers.add_row(
        f"median |{matched[0]}|{matched[1:]}", _number(found["median"]), _number(found["chance"]), _of(values)
    )
    numbers.add_row("share with |r| > 0.9", _number(found["above_0.9"]), "", "")
    numbers.add_row(
        "mean CCA", _number(told["cca"]["mean"]), _number(told["cca"]["chance"]), _of(told["cca"]["components"])
    )
    numbers.add_row("linear CKA", _number(told["cka"]["value"]), _number(told["cka"]["chance"]), _of(used))
    console.print(numbers)
    if found["matched_by"] == "place":
        note("The values have other names in A and B, and were put beside each other by their place.")
    _show_values(found["of_each"], found["matched_by"] is not None)


def _show_values(each: Sequence[Mapping[str, Any]], matched: bool) -> None:
    """The values whose correlation is lowest and highest."""
    key, other = ("r", "other") if matched else ("best_r", "best")
    known = sorted((one for one in each if not math.isnan(one[key])), key=lambda one: abs(one[key]))
    shown = known if len(known) <= 2 * _SHOWN else [*known[:_SHOWN], *known[-_SHOWN:]]
    table = Table(box=SIMPLE_HEAD)
    table.add_column("value of A", no_wrap=True)
    table.add_column("value of B" if matched else "best value of B", no_wrap=True)
    table.add_column("r", justify="right", no_wrap=True)
    for place, one in enumerate(shown):
        if len(shown) < len(known) and place == _SHOWN:
            table.add_row("…", "…", "")
        table.add_row(_short(one["name"]), _short(one[other]), _number(one[key]))
    stdout().print(table)
    if len(known) < len(each):
        note(f"{len(each) - len(known)} values of A never change, or have no defined value.")


def _short(name: str) -> str:
    plain = printable(name)
    return escape(plain if len(plain) <= _NAME else f"{plain[: _NAME - 1]}…")


def _of(counts: Sequence[int]) -> str:
    return f"{counts[0]:,} and {counts[1]:,}"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"
