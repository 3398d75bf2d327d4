"""mse cache: what is in the feature cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Device, Json, Quiet, Root, Workers
from mse_pipeline.cli.output import complain, emit_json, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.extraction.repair import Repaired
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.store.pruning import Pruned, Unused

_Chosen = Annotated[
    str | None, typer.Argument(metavar="[DATASET]", help="Dataset in the cache. [default: all]", show_default=False)
]

_SHOWN = 8  # clips of a damage that are listed

app = typer.Typer(no_args_is_help=True, help="What is in the feature cache.")


@app.command("ls")
def ls(cache: CacheDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the datasets with their clips, streams and sizes."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.store.storage import files

    opened = open_cache(cache)
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
                "bytes": sum(one.size for one in stored),
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
    dataset: Annotated[str, typer.Argument(help="Name of a dataset in the cache.")],
    failures: Annotated[
        bool, typer.Option("--failures", help="List each failed clip and stream with its reason.")
    ] = False,
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
    """Show a dataset's streams, their versions, what their values are like, or what failed and why."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.errors import UsageError
    from mse_pipeline.extraction.summary import count_stream
    from mse_pipeline.store.cache import open_cache

    if failures + versions + statistics > 1:
        raise UsageError("--failures, --versions and --statistics are lists of their own; ask for one of them.")
    if stream is not None and not statistics:
        raise UsageError("--stream is of --statistics; add that.")
    opened = open_cache(cache)[dataset]
    if statistics:
        _show_statistics(opened, [stream] if stream is not None else list(opened), dims)
        return
    rows = {stream: opened.rows(stream) for stream in opened}
    failed = [row for one in rows.values() for row in one if row.status == "failed"]
    value: dict[str, Any] = {
        "dataset": dataset,
        "path": str(opened.path),
        "source": dict(opened.manifest.source),
    }
    if failures:
        keys: tuple[str, ...] = ("clip", "stream", "code", "stage", "message")
        value["failures"] = [{key: getattr(row, key) for key in keys} for row in failed]
        head, lines = keys, [[str(item[key] or "") for key in keys] for item in value["failures"]]
    elif versions:
        value["versions"] = {stream: _versions(opened, stream) for stream in opened}
        head = ("stream", "version", "done", "differs from the current one")
        lines = [
            [stream, one["id"], str(one["done"]), "current" if one["current"] else "\n".join(one["differs"])]
            for stream, held in value["versions"].items()
            for one in held
        ]
    else:
        counts = {stream: count_stream(one, set()) for stream, one in rows.items()}
        value["streams"] = {
            stream: {
                "version": opened.manifest.streams[stream].version,
                "identity": dict(opened.manifest.streams[stream].identity),
                "alignment": dict(opened.manifest.streams[stream].alignment),
                "done": count.done,
                "failed": dict(count.failed),
                "rows": count.rows,
                "valid": count.valid,
            }
            for stream, count in counts.items()
        }
        head = ("stream", "version", "clock", "done", "failed", "rows", "valid")
        lines = [
            [
                stream,
                item["version"],
                item["alignment"]["kind"],
                str(item["done"]),
                str(sum(item["failed"].values())),
                str(item["rows"]),
                str(item["valid"]),
            ]
            for stream, item in value["streams"].items()
        ]
    if settings.json:
        emit_json(value)
        return
    table = Table(*head, box=SIMPLE_HEAD)
    for line in lines:
        table.add_row(*map(escape, line))
    stdout().print(table if lines else "Nothing failed." if failures else "It has no streams yet.")
    for one in value["source"].get("imports", []):
        files = one.get("files", "")
        told = f"{', '.join(one['streams'])}: imported from {one.get('format', 'elsewhere')}"
        told += f", {', '.join(map(str, files))}" if isinstance(files, list | dict) else ""
        told += f", the published {one['published']}" if one.get("published") else ""
        stdout().print("\n".join([told, *(f"  {note}" for note in one["notes"])]), markup=False)


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
            stdout().print(f"{len(found.names) - len(shown):,} more values; --dims 0 and --json show all.\n")
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


def _versions(dataset: Dataset, stream: str) -> list[dict[str, Any]]:
    """The stream's versions as plain values, each with what it differs in from the current one, in words."""
    from mse_pipeline.store.keys import differences

    held = dataset.versions(stream)
    return [
        {**vars(one), "identity": dict(one.identity), "differs": list(differences(one.identity, held[0].identity))}
        for one in held
    ]


@app.command("verify")
def verify(
    dataset: _Chosen = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what is damaged; only features that are lost are extracted.")
    ] = False,
    root: Root = None,
    workers: Workers = None,
    device: Device = "cpu",
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare all files with their checksums, and name what is damaged with its clips. Exit code 1 if anything is."""
    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.extraction.repair import Repaired
    from mse_pipeline.store.integrity import verify as compare

    def work(one: Dataset) -> Repaired:
        return _repair(one, root, workers, device)

    chosen = _datasets(cache, dataset)
    if repair:
        done = [_alone(work, one) for one in chosen]
    else:
        with bar("files") as progress:
            shown = ExtractionBar(progress)
            compared = [compare(one, lambda path: shown.stage(f"checking {path.name}")) for one in chosen]
        done = [Repaired(found, found) for found in compared]
    left = [one for one in done if one.after.damages or one.notes]
    if settings.json:
        emit_json({"repair": repair, "damaged": bool(left), "verified": [_plain(one) for one in done]})
    else:
        for one in done:
            _tell(one, repair)
    if left:
        damages = [damage for one in left for damage in one.after.damages]
        streams = ", ".join(sorted({damage.stream for damage in damages if damage.stream}))
        told = f"{len(damages):,} files of {', '.join(one.after.dataset for one in left)} are damaged"
        told += f", of {streams}. " if streams else ". "
        named = left[0].after.dataset
        complain(told + ("Not all could be repaired." if repair else f"Run: mse cache verify {named} --repair"))
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


def _plain(one: Repaired) -> dict[str, Any]:
    from dataclasses import asdict

    value = asdict(one.before)
    for name, found in (("damages", one.before), ("left", one.after)):
        value[name] = [{**vars(damage), "path": str(damage.path)} for damage in found.damages]
    return {**value, "extracted": [list(pair) for pair in one.extracted], "notes": list(one.notes)}


def _tell(one: Repaired, repair: bool) -> None:
    found = one.before
    size = f"{found.files:,} files of {found.bytes / 1e6:,.1f} MB, features of {found.features:,} clips"
    state = f"{len(found.damages):,} are damaged:" if found.damages else "no damage found."
    lines = [f"{found.dataset}: {size}: {state}"]
    for damage in found.damages:
        clips = ", ".join(damage.clips[:_SHOWN]) + (
            f" and {len(damage.clips) - _SHOWN:,} more" * (len(damage.clips) > _SHOWN)
        )
        of = f" of {damage.stream} {damage.version}".rstrip() if damage.stream else ""
        lines.append(f"  {damage.kind}{of}, {damage.path}: {damage.problem}" + (f"; clips: {clips}" if clips else ""))
    if found.unchecked:
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.unchecked.items()))
        lines.append(f"  Without checksums, as an earlier version wrote them: {told}.")
    if repair and found.damages:
        lines.append(
            f"  Repaired: {len(found.damages) - len(one.after.damages):,}; extracted again: {len(one.extracted):,}."
        )
        lines += [f"  {note}" for note in one.notes]
    stdout().print("\n".join(lines), markup=False, soft_wrap=True)


@app.command("compact")
def compact(
    dataset: _Chosen = None, cache: CacheDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Merge many small shards into few large ones, and the journal into one part. Values stay as they are."""
    from mse_pipeline.store.pruning import compact as merge

    done = [_alone(merge, one) for one in _datasets(cache, dataset)]
    if settings.json:
        emit_json({"compacted": [vars(one) for one in done]})
        return
    for one in done:
        stdout().print(
            f"{one.dataset}: {one.files_before:,} files of {one.bytes_before / 1e6:,.1f} MB became "
            f"{one.files_after:,} files of {one.bytes_after / 1e6:,.1f} MB.",
            markup=False,
        )


@app.command("prune")
def prune(
    dataset: _Chosen = None,
    older_than: Annotated[
        float, typer.Option(min=0.0, help="Hours. On object storage younger files may be of a run and are left.")
    ] = 24.0,
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Leave the versions of streams that the recipe no longer uses.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go, and remove nothing.")] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Remove what no longer counts: versions of streams that the recipe no longer uses, and what killed runs left."""
    from dataclasses import asdict

    from mse_pipeline.store.pruning import prune as remove

    def work(one: Dataset) -> Pruned:
        return remove(one, older_than=older_than * 3600, keep_versions=keep_versions, dry_run=dry_run)

    done = [_alone(work, one) for one in _datasets(cache, dataset)]
    if settings.json:
        emit_json({"dry_run": dry_run, "pruned": [asdict(one) for one in done]})
        return
    for one in done:
        lines = [f"{one.dataset}: {one.files:,} files of {one.bytes / 1e6:,.1f} MB {'would be ' * dry_run}removed."]
        lines += [f"  {_told(gone)}" for gone in one.versions]
        if one.left:
            lines.append(
                "  Left, because a run of the last hours may be about to use them (--older-than 0 if none is alive):"
            )
            lines += [f"    {_told(kept)}" for kept in one.left]
        stdout().print("\n".join(lines), markup=False, soft_wrap=True)


def _told(one: Unused) -> str:
    differs = "; ".join(one.differs)
    size = f"{one.done:,} clips, {one.bytes / 1e6:,.1f} MB"
    return f"{one.stream} {one.version}: {size}" + (f" ({differs})" if differs else "")


def _datasets(cache: str | None, name: str | None) -> list[Dataset]:
    """The dataset that is named, or all."""
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    return [opened[name]] if name is not None else list(opened.values())


def _alone(work: Callable[[Dataset], Any], dataset: Dataset) -> Any:
    """Do what excludes a run on the dataset.

    Raises:
        MseError: One is at work on it.
    """
    from filelock import Timeout

    from mse_pipeline.errors import MseError

    try:
        return work(dataset)
    except Timeout as error:
        raise MseError(f"An extraction into {dataset.name} is running; do this when it has ended.") from error
