"""mse cite: BibTeX for what a run or a cache used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, printable, settings

if TYPE_CHECKING:
    from mse_pipeline.citing import Used
    from mse_pipeline.store.cache import Cache


def command(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT]...",
            help="Run folders, datasets in the cache, or names of datasets, streams, models and backbones. [default: "
            "all datasets in the cache]",
            show_default=False,
        ),
    ] = None,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print BibTeX for the datasets, features, models and backbones that were used."""
    import sys

    from mse_pipeline.citing import bibtex
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    used = [one for name in (what if what else list(opened)) for one in _used(name, opened)]
    entries = list(bibtex(used))
    unknown = list(dict.fromkeys(f"{one.kind} {one.name}" for one in used if one.unknown))
    if settings.json:
        emit_json({"entries": entries, "unknown": unknown})
        return
    lines = [*entries, *(f"% Nothing is known to cite for the {name}: ask who made it." for name in unknown)]
    sys.stdout.write(printable("\n\n".join(lines)) + "\n")  # not through a console, which would wrap its lines


def _used(name: str, cache: Cache) -> list[Used]:
    from mse_pipeline.citing import of_dataset, of_name, of_run
    from mse_pipeline.training.run_files import RUN, read_json

    folder = Path(name)
    home = next((one for one in (folder, folder.parent) if (one / RUN).is_file()), None) if folder.is_dir() else None
    if home is not None:
        return of_run(read_json(home / RUN))
    if name in cache:
        dataset = cache[name]
        streams = {stream: entry.identity for stream, entry in dataset.manifest.streams.items()}
        return of_dataset(name, dataset.manifest.source.get("corpus"), streams)
    return [of_name(name)]
