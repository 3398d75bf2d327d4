"""mse extract: raw clips into features, and what a run of it says at its end."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.options import (
    CacheDir,
    Debug,
    Device,
    Encoding,
    FollowLinks,
    Json,
    MediaRoot,
    Quiet,
    Root,
    Set,
    Target,
    Where,
)
from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.places import is_local, place

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.extraction.run import DryRun
    from mse_pipeline.extraction.summary import Summary
    from mse_pipeline.recipe import Check, Recipe

_TABLES = {".csv", ".tsv", ".parquet"}
_TABLE_STREAMS = ("acoustic.egemaps", "visual.mtcnn")


def command(
    target: Target,
    root: Root = None,
    encoding: Encoding = None,
    media_root: MediaRoot = None,
    follow_links: FollowLinks = False,
    cache: CacheDir = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes, each on one core. [default: one per core, or all of the scheduler]",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What runs the workers: local, dask or ray. The cache is the same.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="The engine's scheduler, as in tcp://node1:8786. [default: start one on this machine]",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Extract only the I-th of N shares of the clips, as in a job array; the last to end packs.",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[str | None, typer.Option("--shard", hidden=True)] = None,
    clip_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a clip that hangs is stopped and marked as failed.")
    ] = 600.0,
    device: Device = "cpu",
    streams: Annotated[
        list[str] | None,
        typer.Option("--streams", help="Extract only this stream of the recipe; may be given several times."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Name or file of a feature set that replaces the recipe's streams; see mse extractors sets.",
            show_default=False,
        ),
    ] = None,
    changes: Set = None,
    where: Where = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Extract at most N clips, taken from all splits.", metavar="N")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try clips again that failed before.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at once if the clips differ from the official counts.")
    ] = False,
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be extracted, try the models, and extract nothing."),
    ] = False,
    max_failures: Annotated[
        str,
        typer.Option(help="How many clips may fail, as a number or percentage; with more the exit code is 3."),
    ] = "5%",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn raw clips into cached features. Continues where an earlier run stopped."""
    bound, part = parse_bound(max_failures), parse_share(_one_share(share, shard))
    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.extraction.run import ExtractionOptions, dry_run, extract
    from mse_pipeline.store.arrow import without_pandas
    from mse_pipeline.store.cache import open_cache

    recipe, folder = resolve(
        target, features, changes, encoding=encoding, root=root, media_root=media_root, follow_links=follow_links
    )
    options = ExtractionOptions(
        workers=workers,
        engine=engine,
        address=address,
        share=part,
        clip_timeout=clip_timeout,
        device=device,
        limit=limit,
        streams=tuple(streams or ()),
        condition=where,
        retry_failed=retry_failed,
        strict=strict,
        origin=origin_of(target, changes or ()),
    )
    if dry:
        with bar("clips") as progress:
            outline = dry_run(recipe, folder, open_cache(cache), options, ExtractionBar(progress))
        if settings.json:
            emit_json(asdict(outline))
        else:
            show_dry_run(outline, stdout())
        return
    if engine == "local" and _all_built_in(recipe):
        without_pandas()
    with bar("clips") as progress:
        summary = extract(recipe, folder, open_cache(cache), options, ExtractionBar(progress))
    if settings.json:
        emit_json(summary.to_dict())
    else:
        show_summary(summary, stdout())
    if exceeds(summary, bound):
        raise typer.Exit(3)


def _all_built_in(recipe: Recipe) -> bool:
    """Whether no code of other packages runs in this process, which might make tables of pandas by pyarrow."""
    from mse_pipeline import corpora
    from mse_pipeline.extractors import registry

    used = {str((options or {}).get("extractor", stream)) for stream, options in recipe.streams.items()}
    return recipe.corpus.name in corpora.built_in() and used <= registry.built_in()


def parse_bound(text: str) -> float | int:
    """A number of clips, or a share as a float.

    Examples:
        >>> parse_bound("5%"), parse_bound("0")
        (0.05, 0)

    Raises:
        UsageError: The text is neither.
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise UsageError(f"--max-failures is a number of clips or a percentage, as in 5%; got {text!r}.")
    return value


def parse_share(text: str | None) -> tuple[int, int] | None:
    """Number of a share, and number of all shares.

    Examples:
        >>> parse_share("2/8")
        (2, 8)

    Raises:
        UsageError: The text is not I/N, or I is not from 1 to N.
    """
    if text is None:
        return None
    numbers = re.fullmatch(r"(\d+)/(\d+)", text)
    if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise UsageError(f"--share is written I/N, the I-th of N shares, from 1/8 to 8/8 for 8 shares; got {text!r}.")
    return int(numbers[1]), int(numbers[2])


def _one_share(share: str | None, shard: str | None) -> str | None:
    """The value of --share, or of --shard, its name in earlier versions."""
    if shard is None:
        return share
    if share is not None:
        raise UsageError("--shard is the old name of --share; give --share alone.")
    remark("--shard is now called --share; the next version removes the old name.")
    return shard


def resolve(
    target: str,
    features: str | None = None,
    changes: Sequence[str] | None = None,
    *,
    encoding: str | None = None,
    root: str | None = None,
    media_root: str | None = None,
    follow_links: bool = False,
) -> tuple[Recipe, str | Path]:
    """The recipe of a dataset, file or table that the command line names, and the folder of its raw files.

    Args:
        target: A dataset, a recipe file, or a clip table.
        features: A named feature set, or a file of one, in place of the recipe's streams.
        changes: Settings, each KEY=VALUE, which replace those of the recipe.
        encoding: Encoding of a clip table; None to detect it.
        root: The folder of the raw files; None for the table's own folder, or the dataset's usual one.
        media_root: The folder that a table's media paths start from; None for the root.
        follow_links: Whether symbolic links that lead out of the root are followed.

    Raises:
        UsageError: `target` is not a dataset, recipe or table, or a feature set, setting, encoding or folder is wrong.
    """
    from mse_pipeline import recipe

    read, usual = _resolve(target, encoding, root)
    home = Path(target).parent
    if features is not None:
        read = recipe.with_features(read, recipe.load_features(features, checks=(check_streams,)))
    read = recipe.with_settings(read, changes or (), checks())
    folder = root or usual
    if root is None and read.corpus.options.keys() & {"table", "media_root"} and not usual.exists() and home.is_dir():
        folder = home  # the recipe itself says where its data lie, seen from its own folder
    return placed(read, folder, home, media_root=media_root, follow_links=follow_links), folder


def _resolve(target: str, encoding: str | None, root: str | None) -> tuple[Recipe, Path]:
    from mse_pipeline import corpora, recipe
    from mse_pipeline.corpora.table import named_table
    from mse_pipeline.corpora.table_file import refuse_others
    from mse_pipeline.corpora.text import check_encoding

    path = place(target)
    refuse_others(target)
    if path.suffix.lower() in _TABLES:
        if not path.is_file():
            raise UsageError(f"There is no clip table {target}.")
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).lstrip("._-") or "table"
        table = named_table(path)
        if root is not None:
            # The table may be in another folder than the media.
            table = os.path.abspath(path.parent / table) if is_local(path) else target
        options = {"table": table}
        if encoding is not None:
            try:
                options["encoding"] = check_encoding(encoding)
            except ValueError as error:
                raise UsageError(f"--encoding: {error}.") from None
        usual = recipe.load("table").to_dict()  # how one's own clips are trained on
        plain = {"version": 1, "name": name, "corpus": {"name": "table", "options": options}}
        plain |= {"training": usual["training"], "prompt": usual["prompt"]}
        read = recipe.Recipe.model_validate({**plain, "streams": {stream: {} for stream in _TABLE_STREAMS}})
        return read, path.parent
    if encoding is not None:
        raise UsageError(
            f"--encoding is for a clip table, as clips.csv, but {target} is not one. For a table in a recipe, write "
            "encoding into corpus.options."
        )
    home = os.environ.get("MSE_DATA", "data")
    names = recipe.names()
    if target not in names and target in {*corpora.available(), *corpora.refused()}:
        return recipe.Recipe.model_validate(_recipe_for(target)), place(home) / target
    near = did_you_mean(target, [*names, *corpora.available()])
    if not path.suffix and near != did_you_mean(target, names):  # the nearest is a corpus of another package
        raise UsageError(f"There is no dataset {target}{near}")
    read = recipe.load(target, checks())
    return read, place(home) / read.name


def _recipe_for(corpus: str) -> dict[str, Any]:
    """A recipe of default settings for a corpus of another package, in its language.

    Raises:
        UsageError: The package of the corpus cannot be used.
    """
    from mse_pipeline import corpora

    language = "zh" if corpora.facts(corpus).language == "zh" else "en"
    streams: dict[str, Any] = {stream: {} for stream in _TABLE_STREAMS}
    section = {"name": corpus}
    return {"version": 1, "name": corpus, "corpus": section, "streams": streams, "prompt": {"language": language}}


def checks() -> tuple[Check, ...]:
    """The checks of a recipe that need corpora, extractors, metrics or models."""
    from mse_pipeline import corpora, metrics

    return corpora.check, check_streams, metrics.check, check_model


def check_model(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Errors in the model that a recipe's training names; without a model, PyTorch is not loaded."""
    if "model" not in (plain.get("training") or {}):
        return []
    from mse_pipeline.adapter import models

    return [("training.model", problem) for problem in models.check(plain["training"]["model"])]


def check_streams(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Errors that the extractors find in a recipe's streams, each with its key in the file."""
    from mse_pipeline import extractors

    return [(f"streams.{key}", message) for key, message in extractors.check(plain.get("streams", {}))]


def placed(
    recipe: Recipe, root: str | Path, home: Path, *, media_root: str | None = None, follow_links: bool = False
) -> Recipe:
    """The recipe with the paths of table and media, and the rule for links, as the command line gives them.

    Args:
        recipe: The recipe; paths in it start from the root, or from the folder of its file.
        root: The folder of the raw files.
        home: The folder of the recipe's file.
        media_root: As on the command line.
        follow_links: As on the command line.

    Raises:
        UsageError: `media_root` is not a folder, or the corpus is not a table.
    """
    options = dict(recipe.corpus.options)
    if recipe.corpus.name == "table":
        for name in ("table", "media_root"):
            written = options.get(name)
            if isinstance(written, str) and "://" not in written:
                beside = home / written
                if beside.exists() and not (place(root) / written).exists():
                    options[name] = os.path.abspath(beside)
    if media_root is not None:
        if recipe.corpus.name != "table":
            raise UsageError(
                f"--media-root is for tables: it is the folder that their paths start from. {recipe.corpus.name} finds "
                "its media by name below --root. Use --follow-links if folders there are links."
            )
        folder = place(media_root)
        if is_local(folder) and not folder.expanduser().is_dir():
            raise UsageError(
                f"There is no folder {media_root}. --media-root is the folder that the table's paths start from."
            )
        options["media_root"] = os.path.abspath(folder.expanduser()) if is_local(folder) else media_root
    streams = dict(recipe.streams)
    if follow_links:
        options["follow_links"] = True
        if "text.word_times" in streams:
            streams["text.word_times"] = {**streams["text.word_times"], "follow_links": True}
    corpus = recipe.corpus.model_copy(update={"options": options})
    return recipe.model_copy(update={"corpus": corpus, "streams": streams})


def origin_of(target: str, changes: Sequence[str]) -> dict[str, Any]:
    """Where a dataset's recipe came from, kept with the dataset: its name or file, and the changed settings."""
    from mse_pipeline import recipe

    named: dict[str, Any] = {}
    if target in recipe.names():
        named = {"recipe": target}
    elif place(target).suffix.lower() in (".yaml", ".yml"):
        named = {"recipe": os.path.abspath(place(target).expanduser())}
    return {**named, **({"settings": list(changes)} if changes else {})}


def show_dry_run(outline: DryRun, console: Console) -> None:
    """Print what an extraction would do."""
    table = Table(box=SIMPLE_HEAD, title=f"{outline.clips} clips of {escape(outline.dataset)}", title_justify="left")
    table.add_column("stream")
    table.add_column("to extract", justify="right")
    for stream, count in outline.lacking.items():
        table.add_row(escape(stream), str(count))
    console.print(table)
    if outline.defects:
        counts = ", ".join(f"{count} {code}" for code, count in outline.defects.items())
        note(f"Defects of the corpus: {counts}.", console)
    for sentence in outline.instead:
        note(sentence, console)
    note("All models fit. --dry-run: nothing was extracted.", console)


def show_summary(summary: Summary, console: Console) -> None:
    """Print what was found and extracted, what failed, and where the files are."""
    selected = () if summary.selection is None else (summary.selection.sentence(), *summary.selection.remarks)
    for sentence in (summary.understood.sentence(), *(f"Note: {text}" for text in summary.notes), *selected):
        note(sentence, console)
    console.print(_splits(summary))
    console.print(_streams(summary))
    rate = f", {summary.worked_on / summary.seconds:.1f} clips/s" if summary.worked_on else ""
    if summary.worked_on < summary.processed:  # the others have no file, or the one that is in the cache
        rate += f" of the {summary.worked_on:,} that were read" if summary.worked_on else ", none of them read"
    console.print(
        f"{summary.processed} of {summary.asked} clips processed in {summary.seconds:.1f} s{rate}. "
        f"Features: [bold]{escape(str(summary.path))}[/]",
        soft_wrap=True,  # a path in two lines is no path
    )
    if summary.defects:
        counts = ", ".join(f"{count} {code}" for code, count in summary.defects.items())
        note(f"Defects of the corpus: {counts}. See {summary.path / 'defects.jsonl'}", console)
    for sentence in summary.instead if _is_first(summary) else ():
        note(sentence, console)
    if summary.remarks:
        note("Remarks: " + ", ".join(f"{count} {code}" for code, count in summary.remarks.items()), console)
    if summary.failed_clips:
        first = summary.failures[0]
        console.print(
            f"[yellow]{summary.failed_clips} clips lack a stream[/], as {escape(first.clip)}, {escape(first.stream)}: "
            f"{first.code} ({first.stage}): {escape(first.message or '')}\n"
            f"All of them: mse cache show {escape(summary.dataset)} --failures; "
            f"try again: mse extract … --retry-failed"
        )


def _is_first(summary: Summary) -> bool:
    """Whether a stream got its first features; later runs of the same dataset need not hear again what made them."""
    return any(count.made and count.made == count.done for count in summary.streams.values())


def _splits(summary: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"Clips of {escape(summary.dataset)}", title_justify="left")
    table.add_column("split")
    table.add_column("found", justify="right")
    if summary.expected:
        table.add_column("expected", justify="right")
    for split in dict.fromkeys([*summary.found, *summary.expected]):
        count, expected = summary.found.get(split, 0), summary.expected.get(split)
        cells = [split, str(count)]
        if summary.expected:
            cells.append(str(expected) if expected == count else f"[yellow]{expected}[/]")
        table.add_row(*cells)
    return table


def _streams(summary: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD, title="Streams", title_justify="left")
    for name, justify in (
        ("stream", "left"),
        ("done", "right"),
        ("new", "right"),
        ("rows", "right"),
        ("valid", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("failed")
    for stream, count in summary.streams.items():
        failed = ", ".join(f"{number} {code}" for code, number in count.failed.items()) or "–"
        share = f"{100 * count.valid / count.rows:.1f} %" if count.rows else "–"
        table.add_row(stream, str(count.done), str(count.made), str(count.rows), share, failed)
    return table


def exceeds(summary: Summary, bound: float | int) -> bool:
    """Whether more clips failed than are allowed."""
    allowed = bound * summary.asked if isinstance(bound, float) else bound
    return summary.failed_clips > allowed
