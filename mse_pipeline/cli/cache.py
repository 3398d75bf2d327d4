"""mse cache: what is in the feature cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Device, Json, Quiet, Root, Workers
from mse_pipeline.cli.output import complain, emit_json, note, remark, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.extraction.repair import Repaired
    from mse_pipeline.store.cache import Cache
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.store.pruning import Pruned, Unused

_Chosen = Annotated[
    str | None, typer.Argument(metavar="[DATASET]", help="Dataset in the cache. [default: all]", show_default=False)
]

_SHOWN_CLIPS = 8  # of each damaged file

app = typer.Typer(no_args_is_help=True, help="What is in the feature cache.")


@app.command("ls")
def ls(cache: CacheDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the datasets with their clips, streams and sizes."""
    from mse_pipeline.store.cache import open_cache

    _list(open_cache(cache))


def _list(opened: Cache) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.store.storage import files

    rows: list[dict[str, Any]] = []
    for name, dataset in opened.items():
        stored = list(files(dataset.path))
        rows.append(
            {
                "dataset": name,
                "clips": dataset.clip_count(),
                "streams": list(dataset),
                "done": {stream: dataset.count(stream) for stream in dataset},
                "files": len(stored),
                "bytes": sum(file.size for file in stored),
            }
        )
    if settings.json:
        emit_json({"cache": str(opened.path), "datasets": rows})
        return
    table = Table(box=SIMPLE_HEAD)
    heads = (("dataset", "left"), ("clips", "right"), ("files", "right"), ("MB", "right"), ("streams", "left"))
    for name, justify in heads:
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        megabytes = f"{row['bytes'] / 1e6:.1f}"
        streams = ", ".join(f"{stream} ({count:,})" for stream, count in row["done"].items())
        table.add_row(escape(row["dataset"]), f"{row['clips']:,}", f"{row['files']:,}", megabytes, escape(streams))
    stdout().print(table if rows else f"The cache {escape(str(opened.path))} is empty: mse extract fills it.")


@app.command("show")
def show(
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="Dataset in the cache. [default: list all, or for a list of one dataset the only one]",
            show_default=False,
        ),
    ] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List what failed by its reason, with examples of each.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, help="Of --failures: the most examples of a reason; 0 for all. --json has all.")
    ] = 3,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of --failures: write each failed clip and stream with its reason into this file.",
            show_default=False,
        ),
    ] = None,
    versions: Annotated[
        bool,
        typer.Option("--versions", help="List each stream's versions, and what the earlier ones were made with."),
    ] = False,
    statistics: Annotated[
        bool,
        typer.Option(
            "--statistics",
            help="List each value of each stream: in how many of the valid rows it is defined, mean, deviation, range.",
        ),
    ] = False,
    stream: Annotated[
        str | None, typer.Option(help="Of --statistics: this stream alone. [default: all]", show_default=False)
    ] = None,
    dims: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of --statistics: the most values of a stream that the table shows, those first that are not defined "
            "everywhere or constant; 0 for all. --json has all.",
        ),
    ] = 30,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show a dataset's streams, their versions, what their values are like, or what failed and why.

    Without a name and an option, list the datasets as mse cache ls does.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.cli.failures import show_failures
    from mse_pipeline.errors import UsageError
    from mse_pipeline.store.cache import open_cache

    if failures + versions + statistics > 1:
        raise UsageError("--failures, --versions and --statistics are lists of their own; ask for one of them.")
    if stream is not None and not statistics:
        raise UsageError("--stream is of --statistics; add that.")
    if csv is not None and not failures:
        raise UsageError("--csv is of --failures; add that.")
    if dataset is None and not (failures or versions or statistics):
        _list(open_cache(cache))
        return
    opened = pick(open_cache(cache), dataset, "mse cache show")
    if statistics:
        _show_statistics(opened, [stream] if stream is not None else list(opened), dims)
        return
    if failures:
        show_failures(opened, limit, csv)
        return
    name, plain, head, lines = (_versions if versions else _streams)(opened)
    source = dict(opened.manifest.source)
    if settings.json:
        emit_json({"dataset": opened.name, "path": str(opened.path), "source": source, name: plain})
        return
    table = Table(*head, box=SIMPLE_HEAD)
    for line in lines:
        table.add_row(*map(escape, line))
    stdout().print(table if lines else "It has no streams yet.")
    if (text := source.get("text")) is not None:
        count = sum(clip.text_from is not None for clip in opened.clips)
        of = f"{count:,} of {len(opened.clips):,} clips have their text from {text['stream']}"
        stdout().print(f"text: {text['source']} ({text['model']}): {of}.", markup=False)
    for imported in source.get("imports", []):
        files = imported.get("files", "")
        sentence = f"{', '.join(imported['streams'])}: imported from {imported.get('format', 'elsewhere')}"
        sentence += f", {', '.join(map(str, files))}" if isinstance(files, list | dict) else ""
        sentence += f", the published {imported['published']}" if imported.get("published") else ""
        stdout().print("\n".join([sentence, *(f"  {note}" for note in imported["notes"])]), markup=False)


_STATISTICS = ("defined", "mean", "deviation", "low", "high")


def _show_statistics(dataset: Dataset, streams: list[str], most: int) -> None:
    """Print statistics of the values of streams, on the clock that training reads."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.store.statistics import notable, value_statistics

    value: dict[str, Any] = {}
    for stream in streams:
        found = value_statistics(dataset[stream])
        if found is None:
            continue
        units = _units(dataset, stream)
        columns = {name: getattr(found, name).tolist() for name in _STATISTICS}
        value[stream] = {
            "alignment": dict(dataset.manifest.streams[stream].alignment),
            **{name: getattr(found, name) for name in ("clips", "rows", "valid")},
            "dimensions": [
                {"name": name, "unit": units.get(name, ""), **{key: columns[key][place] for key in _STATISTICS}}
                for place, name in enumerate(found.names)
            ],
        }
        if settings.json:
            continue
        shown = notable(found, most or len(found.names))
        table = Table(box=SIMPLE_HEAD, title_justify="left", title_style="")
        table.title = escape(f"{stream}: {found.clips:,} clips, {found.rows:,} rows, {found.valid:,} valid")
        table.add_column("value", overflow="fold")
        table.add_column("unit")
        for name in ("defined", "mean", "deviation", "least", "greatest"):
            table.add_column(name, justify="right", no_wrap=True)
        for place in shown:
            one = value[stream]["dimensions"][place]
            defined, *numbers = (one[key] for key in _STATISTICS)
            cells = ["–" if math.isnan(number) else f"{number:.4g}" for number in numbers]
            table.add_row(escape(one["name"]), escape(one["unit"]), _percent(defined), *cells)
        stdout().print(table)
        if len(shown) < len(found.names):
            note(f"{len(found.names) - len(shown):,} more values; --dims 0 and --json show all.\n")
    if settings.json:
        emit_json({"dataset": dataset.name, "statistics": value})
    elif not value:
        stdout().print("It has no features yet.")


def _percent(share: float) -> str:
    """A share in percent; only all is 100 %, and only none is 0 %.

    Examples:
        >>> _percent(1.0), _percent(0.9999), _percent(0.31), _percent(0.0001), _percent(0.0)
        ('100 %', '99.9 %', '31.0 %', '0.1 %', '0 %')
    """
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def _units(dataset: Dataset, stream: str) -> dict[str, str]:
    """The unit of each value by its name, as the extractor tells it; empty where it is not at hand, or imported."""
    from mse_pipeline.alignment.pooling import pooled_names, pooled_units
    from mse_pipeline.errors import MseError
    from mse_pipeline.extractors.registry import create

    options = dataset.manifest.recipe.get("streams", {}).get(stream)
    if options is None or "imported" in dataset.manifest.streams[stream].identity:
        return {}
    try:
        extractor = create(stream, options)
        names, units = extractor.names, extractor.units
    except (MseError, ImportError):
        return {}
    pool = str(dataset.manifest.streams[stream].alignment.get("pool", "mean"))
    return dict(zip(pooled_names(names, pool), pooled_units(units, pool), strict=True))


_Shown = tuple[str, Any, tuple[str, ...], list[list[str]]]
"""A part of a dataset as it is shown: its name in JSON and its value there, the head of its table and the lines."""


def _versions(dataset: Dataset) -> _Shown:
    """The versions of each stream, with what differs from the current one, in words."""
    from mse_pipeline.store.keys import differences

    plain: dict[str, list[dict[str, Any]]] = {}
    lines = []
    for stream in dataset:
        versions = dataset.versions(stream)
        plain[stream] = []
        for version in versions:
            differs = list(differences(version.identity, versions[0].identity))
            plain[stream].append({**vars(version), "identity": dict(version.identity), "differs": differs})
            lines.append([stream, version.id, str(version.done), "current" if version.current else "\n".join(differs)])
    return "versions", plain, ("stream", "version", "done", "differs from the current one"), lines


def _streams(dataset: Dataset) -> _Shown:
    """Each stream with its version, its clock and its counts."""
    from mse_pipeline.extraction.summary import count_stream

    plain = {}
    lines = []
    for stream in dataset:
        entry, count = dataset.manifest.streams[stream], count_stream(dataset.rows(stream), set())
        plain[stream] = {
            "version": entry.version,
            "identity": dict(entry.identity),
            "alignment": dict(entry.alignment),
            "done": count.done,
            "failed": dict(count.failed),
            "rows": count.rows,
            "valid": count.valid,
        }
        counts = (count.done, sum(count.failed.values()), count.rows, count.valid)
        lines.append([stream, entry.version, entry.alignment["kind"], *map(str, counts)])
    return "streams", plain, ("stream", "version", "clock", "done", "failed", "rows", "valid"), lines


@app.command("verify")
def verify(
    dataset: _Chosen = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what is damaged; only lost features are extracted again.")
    ] = False,
    root: Root = None,
    workers: Workers = None,
    device: Device = "cpu",
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare all files with their checksums, and list damaged files with their clips. Exit code 1 if there are any."""
    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.extraction.repair import Repaired
    from mse_pipeline.store.integrity import verify as compare

    def work(dataset: Dataset) -> Repaired:
        return _repair(dataset, root, workers, device)

    chosen = _datasets(cache, dataset)
    if repair:
        done = [_alone(work, opened) for opened in chosen]
    else:
        with bar("files") as progress:
            shown = ExtractionBar(progress)
            compared = [compare(opened, lambda path: shown.stage(f"checking {path.name}")) for opened in chosen]
        done = [Repaired(verified, verified) for verified in compared]
    left = [repaired for repaired in done if repaired.after.damages or repaired.notes]
    if settings.json:
        emit_json({"repair": repair, "damaged": bool(left), "verified": [_plain(repaired) for repaired in done]})
    else:
        for repaired in done:
            _show_repaired(repaired, repair)
    if left:
        damages = [damage for repaired in left for damage in repaired.after.damages]
        streams = ", ".join(sorted({damage.stream for damage in damages if damage.stream}))
        sentence = f"{len(damages):,} files of {', '.join(repaired.after.dataset for repaired in left)} are damaged"
        sentence += f", of {streams}. " if streams else ". "
        named = left[0].after.dataset
        complain(sentence + ("Not all could be repaired." if repair else f"Run: mse cache verify {named} --repair"))
        raise typer.Exit(1)


def _repair(dataset: Dataset, root: str | None, workers: int | None, device: str) -> Repaired:
    """Repair a dataset; the raw files are looked for where they were when it was extracted, or where datasets lie."""
    import os

    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.extraction.repair import repair
    from mse_pipeline.extraction.run import ExtractionOptions
    from mse_pipeline.places import place

    home = place(root) if root else place(os.environ.get("MSE_DATA", "data")) / dataset.name
    with bar("clips") as progress:
        return repair(dataset, home, ExtractionOptions(workers=workers, device=device), ExtractionBar(progress))


def _plain(repaired: Repaired) -> dict[str, Any]:
    from dataclasses import asdict

    value = asdict(repaired.before)
    for name, state in (("damages", repaired.before), ("left", repaired.after)):
        value[name] = [{**vars(damage), "path": str(damage.path)} for damage in state.damages]
    return {**value, "extracted": [list(pair) for pair in repaired.extracted], "notes": list(repaired.notes)}


def _show_repaired(repaired: Repaired, repair: bool) -> None:
    before = repaired.before
    size = f"{before.files:,} files of {before.bytes / 1e6:,.1f} MB, {before.features:,} features (one for each clip "
    size += "and stream, in shards and in packs)"
    state = f"{len(before.damages):,} are damaged:" if before.damages else "no damage found."
    lines = [f"{before.dataset}: {size}: {state}"]
    for damage in before.damages:
        more = len(damage.clips) - _SHOWN_CLIPS
        clips = ", ".join(damage.clips[:_SHOWN_CLIPS]) + (f" and {more:,} more" if more > 0 else "")
        of = f" of {damage.stream} {damage.version}".rstrip() if damage.stream else ""
        lines.append(f"  {damage.kind}{of}, {damage.path}: {damage.problem}" + (f"; clips: {clips}" if clips else ""))
    if before.unchecked:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(before.unchecked.items()))
        lines.append(f"  Without checksums, as an earlier version wrote them: {kinds}.")
    if repair and before.damages:
        mended = len(before.damages) - len(repaired.after.damages)
        lines.append(f"  Repaired: {mended:,}; extracted again: {len(repaired.extracted):,}.")
        lines += [f"  {note}" for note in repaired.notes]
    stdout().print("\n".join(lines), markup=False, soft_wrap=True)


@app.command("compact")
def compact(
    dataset: _Chosen = None, cache: CacheDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Merge many small shards into few large ones, and the journal into one part. Values stay as they are."""
    from mse_pipeline.store.pruning import compact as merge

    done = [_alone(merge, opened) for opened in _datasets(cache, dataset)]
    if settings.json:
        emit_json({"compacted": [vars(compacted) for compacted in done]})
        return
    for compacted in done:
        stdout().print(
            f"{compacted.dataset}: {compacted.files_before:,} files of {compacted.bytes_before / 1e6:,.1f} MB became "
            f"{compacted.files_after:,} files of {compacted.bytes_after / 1e6:,.1f} MB.",
            markup=False,
        )


@app.command("prune")
def prune(
    dataset: _Chosen = None,
    older_than: Annotated[
        float,
        typer.Option(
            min=0.0, help="Hours. On object storage younger files may belong to a running extraction and are kept."
        ),
    ] = 24.0,
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Keep the versions of streams that the recipe no longer uses.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Remove what is no longer used: versions of streams that the recipe does not use, and files of killed runs."""
    from dataclasses import asdict

    from mse_pipeline.store.pruning import prune as remove

    def work(dataset: Dataset) -> Pruned:
        return remove(dataset, older_than=older_than * 3600, keep_versions=keep_versions, dry_run=dry_run)

    done = [_alone(work, opened) for opened in _datasets(cache, dataset)]
    if settings.json:
        emit_json({"dry_run": dry_run, "pruned": [asdict(pruned) for pruned in done]})
        return
    for pruned in done:
        lines = [
            f"{pruned.dataset}: {pruned.files:,} files of {pruned.bytes / 1e6:,.1f} MB {'would be ' * dry_run}removed."
        ]
        lines += [f"  {_version_line(gone)}" for gone in pruned.versions]
        if pruned.left:
            lines.append(
                "  Kept, because a run of the last hours may still use them (--older-than 0 if no run is alive):"
            )
            lines += [f"    {_version_line(kept)}" for kept in pruned.left]
        stdout().print("\n".join(lines), markup=False, soft_wrap=True)


def _version_line(version: Unused) -> str:
    differs = "; ".join(version.differs)
    size = f"{version.done:,} clips, {version.bytes / 1e6:,.1f} MB"
    return f"{version.stream} {version.version}: {size}" + (f" ({differs})" if differs else "")


def pick(opened: Cache, name: str | None, command: str) -> Dataset:
    """The dataset asked for, or the only one, which is told.

    Args:
        opened: The cache.
        name: As it was typed; None where no name was.
        command: What a name would be typed after, as in ``mse train``.

    Raises:
        UsageError: There is none, or there are several and none is named.
    """
    from mse_pipeline.errors import UsageError

    if name is not None:
        return opened[name]
    known = list(opened)
    if not known:
        raise UsageError(
            f"The cache {opened.path} is empty. Extract features first, as in: mse extract meld --root DIR"
        )
    if len(known) > 1:
        raise UsageError(f"The cache {opened.path} has several datasets; name one: {command} {' | '.join(known)}")
    remark(f"Dataset: {known[0]}, the only one in {opened.path}.")
    return opened[known[0]]


def _datasets(cache: str | None, name: str | None) -> list[Dataset]:
    """The dataset that is named, or all."""
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    return [opened[name]] if name is not None else list(opened.values())


def _alone(work: Callable[[Dataset], Any], dataset: Dataset) -> Any:
    """Do work that cannot be done while an extraction into the dataset runs.

    Raises:
        MseError: One is running.
    """
    from filelock import Timeout

    from mse_pipeline.errors import MseError

    try:
        return work(dataset)
    except Timeout as error:
        raise MseError(
            f"An extraction into {dataset.name} is running. Wait for its end, then run this command again."
        ) from error
