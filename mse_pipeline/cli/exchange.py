"""mse import and mse export: read and write feature files of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.cache import pick
from mse_pipeline.cli.options import CacheDir, Debug, FollowLinks, Json, Quiet
from mse_pipeline.cli.output import complain, emit_json, note, remark, settings, stdout
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset


def bring(
    form: Annotated[
        str | None,
        typer.Argument(metavar="FORMAT", help="A format, as mmsa. [default: list the formats]", show_default=False),
    ] = None,
    path: Annotated[Path | None, typer.Argument(help="The file or folder.", show_default=False)] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the dataset in the cache. [default: of the dataset that was exported, else the corpus, else "
            "the name of the file]",
            show_default=False,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of the format, as KEY=VALUE; may be given several times."),
    ] = None,
    follow_links: FollowLinks = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the clips of an existing dataset by those of the file.")
    ] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Import a feature file of another project into the cache, as a dataset."""
    from mse_pipeline.exchange import registry

    if form is None:
        _list_formats()
        return
    exchange_format = registry.find(form)
    if path is None:
        raise UsageError(f"Give the file or folder: mse import {form} PATH")
    options = parse_options(option or [])
    if follow_links:
        if "follow_links" not in registry.options_of(form):
            raise UsageError(
                f"--follow-links is for folders, but {form} is one file. A link to it is followed without the option."
            )
        options["follow_links"] = "true"
    from mse_pipeline.exchange.base import bring_in
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    extended = None
    if exchange_format.extends:
        if name is None:
            raise UsageError(
                f"{form} files hold features without clips. Use --name for the dataset in the cache that has the clips."
            )
        extended = opened[name]
    imported = registry.read(form, path, options, extended)
    exported = imported.source.get("dataset")  # one of the same name keeps its streams, which say more than the file
    free = exported if exported not in opened else None
    name = name or str(free or imported.source.get("corpus") or _plain_name(path))
    dataset = bring_in(imported, opened, name, replace_clips=replace)
    _show(dataset, list(imported.streams), imported.source.get("published"), imported.notes)


def export(
    dataset: Annotated[str, typer.Argument(metavar="[DATASET]", help="Dataset in the cache. [default: the only one]")],
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="A format, as mmsa; `mse import` lists them.")],
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="The file or folder to write.", show_default=False)
    ] = None,
    streams: Annotated[
        list[str] | None,
        typer.Option(
            "--streams", help="Stream to write, one per modality. [default: the only one of each]", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing file.")] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a dataset's clips and streams in a format of another project."""
    from mse_pipeline.exchange import registry
    from mse_pipeline.store.cache import open_cache

    if path is None:
        if dataset not in registry.available()[0]:
            raise UsageError("Three things are needed: mse export DATASET FORMAT PATH. `mse import` lists the formats.")
        named, form, path = None, dataset, Path(form)
    else:
        named = dataset
    exchange_format = registry.find(form)
    opened = pick(open_cache(cache), named, "mse export")
    chosen = choose(opened, streams or [])
    if path.is_file() and not overwrite:
        raise UsageError(f"{path} exists already. Use --overwrite to replace it.")
    registry.write(form, opened, path, streams=chosen)
    if exchange_format.loses:
        remark(f"{form} cannot store: {exchange_format.loses}.")
    if settings.json:
        emit_json({"dataset": opened.name, "format": form, "path": str(path), "streams": chosen})
    else:
        stdout().print(f"{path}: {', '.join(chosen.values())} of {len(opened.clips):,} clips", markup=False)


def parse_options(texts: list[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary.

    Examples:
        >>> parse_options(["corpus=mosei", "labels=a=b"])
        {'corpus': 'mosei', 'labels': 'a=b'}

    Raises:
        UsageError: A text has no ``=``, or a key is given twice.
    """
    options: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise UsageError(f"--option is written KEY=VALUE, as in corpus=mosei; got {text!r}.")
        if key in options:
            raise UsageError(f"--option {key} is given twice. Keep one.")
        options[key] = value
    return options


def choose(dataset: Dataset, requested: list[str]) -> dict[str, str]:
    """The stream of each modality: the requested ones, or the only ones.

    Raises:
        UsageError: A modality has several streams, or a requested one has no features.
    """
    streams: dict[str, str] = {}
    for stream in requested or list(dataset):
        modality = stream.partition(".")[0]
        if not dataset[stream]:
            if requested:
                raise UsageError(f"No clip of {dataset.name} has features of {stream}.")
            continue
        if modality in streams:
            raise UsageError(
                f"{dataset.name} has several {modality} streams, as {streams[modality]} and {stream}; choose one per "
                "modality with --streams."
            )
        streams[modality] = stream
    if not streams:
        raise UsageError(f"{dataset.name} has no features to write.")
    return streams


def _plain_name(path: Path) -> str:
    import re

    return re.sub(r"[^A-Za-z0-9._-]+", "_", path.resolve().stem).lstrip("._-") or "imported"


def _list_formats() -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.exchange import registry

    formats, refused = registry.available()
    rows: list[dict[str, Any]] = [
        {
            "format": name,
            "import": form.reader is not None,
            "export": form.writer is not None,
            "options": registry.options_of(name),
            "summary": form.summary,
        }
        for name, form in formats.items()
    ]
    if settings.json:
        emit_json({"formats": rows, "refused": refused})
        return
    table = Table("format", "in", "out", "options", "what it is", box=SIMPLE_HEAD)
    for row in rows:
        marks = ("yes" if row[way] else "" for way in ("import", "export"))
        table.add_row(row["format"], *marks, escape(", ".join(row["options"])), escape(row["summary"]))
    stdout().print(table)
    for sentence in refused.values():
        complain(sentence)


def _show(dataset: Dataset, streams: list[str], published: str | None, notes: list[str]) -> None:
    from mse_pipeline.corpora.overview import overview

    counts: dict[str, int] = {}
    for clip in dataset.clips:
        counts[clip.split.value] = counts.get(clip.split.value, 0) + 1
    clips_with = {stream: len(dataset[stream]) for stream in streams}
    understood = overview(dataset.clips, dataset.manifest.task)
    if settings.json:
        emit_json(
            {
                "dataset": dataset.name,
                "path": str(dataset.path),
                "clips": counts,
                "streams": clips_with,
                "published": published,
                "understood": understood.to_dict(),
                "notes": notes,
            }
        )
        return
    for sentence in notes:
        remark(sentence)
    splits = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    console = stdout()
    console.print(f"{dataset.name}: {splits} clips", markup=False)
    note(understood.sentence(), console)
    for stream, count in clips_with.items():
        console.print(f"  {stream}: {count:,} clips", markup=False)
    if published:
        note(f"It is the published file {published}.", console)
