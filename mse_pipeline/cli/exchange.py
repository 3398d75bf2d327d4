"""mse import and mse export: other people's feature files in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.options import CacheDir, Debug, FollowLinks, Json, Quiet
from mse_pipeline.cli.output import complain, emit_json, printable, remark, settings, stdout
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset


def bring(
    form: Annotated[
        str | None,
        typer.Argument(metavar="FORMAT", help="As in mmsa. [default: list the formats]", show_default=False),
    ] = None,
    path: Annotated[Path | None, typer.Argument(help="The file or folder.", show_default=False)] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Of the dataset in the cache. [default: the corpus, else the file's name]", show_default=False
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Of the format, as KEY=VALUE; may be given several times."),
    ] = None,
    follow_links: FollowLinks = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the file's clips in the place of a dataset's other clips.")
    ] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Bring a foreign feature file into the cache, as a dataset like any other."""
    from mse_pipeline.exchange import registry

    if form is None:
        _list_formats()
        return
    known = registry.find(form)
    if path is None:
        raise UsageError(f"Name the file or folder: mse import {form} PATH")
    options = parse_options(option or [])
    if follow_links:
        if "follow_links" not in registry.options_of(form):
            raise UsageError(f"--follow-links is for folders; {form} is read from one file, which may be a link.")
        options["follow_links"] = "true"
    from mse_pipeline.exchange.base import bring_in
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    extended = None
    if known.extends:
        if name is None:
            raise UsageError(f"{form} files hold features alone: name the dataset that has the clips with --name.")
        extended = opened[name]
    imported = registry.read(form, path, options, extended)
    name = name or str(imported.source.get("corpus") or _plain_name(path))
    dataset = bring_in(imported, opened, name, replace_clips=replace)
    _show(dataset, list(imported.streams), imported.source.get("published"), imported.notes)


def export(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset in the cache.")],
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="As in mmsa; `mse import` lists them.")],
    path: Annotated[Path, typer.Argument(help="The file or folder that is made.")],
    streams: Annotated[
        list[str] | None,
        typer.Option(
            "--streams", help="A stream to write, one a modality. [default: the only ones]", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over a file that is there.")] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a dataset's clips and streams as others read them."""
    from mse_pipeline.exchange import registry
    from mse_pipeline.store.cache import open_cache

    known = registry.find(form)
    opened = open_cache(cache)[dataset]
    chosen = choose(opened, streams or [])
    if path.is_file() and not overwrite:
        raise UsageError(f"{path} is there already; --overwrite writes over it.")
    registry.write(form, opened, path, streams=chosen)
    if known.loses:
        remark(f"What {form} has no place for: {known.loses}.")
    if settings.json:
        emit_json({"dataset": dataset, "format": form, "path": str(path), "streams": chosen})
    else:
        stdout().print(f"{path}: {', '.join(chosen.values())} of {len(opened.clips):,} clips", markup=False)


def parse_options(given: list[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary.

    Examples:
        >>> parse_options(["corpus=mosei", "labels=a=b"])
        {'corpus': 'mosei', 'labels': 'a=b'}

    Raises:
        UsageError: One has no ``=``, or a key is there twice.
    """
    made: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise UsageError(f"--option is written KEY=VALUE, as in corpus=mosei; got {one!r}.")
        if key in made:
            raise UsageError(f"--option {key} is there twice.")
        made[key] = value
    return made


def choose(dataset: Dataset, asked: list[str]) -> dict[str, str]:
    """The stream of each modality: those asked for, or the only ones.

    Raises:
        UsageError: A modality has several, or one asked for is not there.
    """
    made: dict[str, str] = {}
    for stream in asked or list(dataset):
        modality = stream.partition(".")[0]
        if not dataset[stream]:
            if asked:
                raise UsageError(f"No clip of {dataset.name} has features of {stream}.")
            continue
        if modality in made:
            raise UsageError(
                f"{dataset.name} has several {modality} streams, as {made[modality]} and {stream}; choose one a "
                "modality with --streams."
            )
        made[modality] = stream
    if not made:
        raise UsageError(f"{dataset.name} has no features to write.")
    return made


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
    made = {stream: len(dataset[stream]) for stream in streams}
    understood = overview(dataset.clips, dataset.manifest.task)
    if settings.json:
        emit_json(
            {
                "dataset": dataset.name,
                "path": str(dataset.path),
                "clips": counts,
                "streams": made,
                "published": published,
                "understood": understood.to_dict(),
                "notes": notes,
            }
        )
        return
    for note in notes:
        remark(note)
    told = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    console = stdout()
    console.print(f"{dataset.name}: {told} clips", markup=False)
    console.print(printable(understood.sentence()), markup=False)
    for stream, count in made.items():
        console.print(f"  {stream}: {count:,} clips", markup=False)
    if published:
        console.print(f"It is the published file {published}.", markup=False)
