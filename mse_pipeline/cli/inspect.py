"""mse inspect: what was extracted of one clip, as a picture and a page."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, remark, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset


def command(
    clip: Annotated[str, typer.Argument(help="The clip's id, as in train/dia0_utt0.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset in the cache. [default: the one that has the clip]", show_default=False),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that media paths start from. [default: where they were extracted from, else $MSE_DATA/DATASET "
            "or data/DATASET]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the page.")] = Path("inspect"),
    frames: Annotated[int, typer.Option(min=1, max=24, help="The most frames that are shown.")] = 8,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what was extracted of a clip: frames with faces, waveform, words, features, defects."""
    from mse_pipeline.inspection.collect import collect
    from mse_pipeline.inspection.page import write
    from mse_pipeline.inspection.picture import draw
    from mse_pipeline.store.atomic import aside, write_text
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)[_choose(clip, dataset, cache)]
    home = root or _home(opened)
    if not home.is_dir():
        remark(f"{home} is not there, so no frames and no sound are shown; give the raw files' folder with --root.")
    inspection = collect(opened, clip, home if home.is_dir() else None, frames)
    name = file_name(f"{opened.name}-{clip}")
    picture, page = out / f"{name}.png", out / f"{name}.html"
    with aside(picture) as temporary:
        temporary.write_bytes(draw(inspection))
    write_text(page, write(inspection))
    if settings.json:
        problems = [{"code": code, "message": message} for code, message in inspection.problems]
        files = {"picture": str(picture), "page": str(page)}
        emit_json({"clip": clip, "dataset": opened.name, **files, "problems": problems})
        return
    for code, message in inspection.problems:
        stdout().print(f"{code}: {message}", markup=False)
    stdout().print(f"{picture}\n{page}", markup=False)


def file_name(text: str) -> str:
    """A text as the name of a file: with a digest where another text might else have the same name.

    Examples:
        >>> file_name("meld-train/dia0_utt0"), file_name("mine-情/1")
        ('meld-train_dia0_utt0', 'mine-_1-ec47b23a')
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")[:120]
    plain = name == text.replace("/", "_")
    return name if plain else f"{name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def _home(dataset: Dataset) -> Path:
    """Where a dataset's media are: where they were extracted from, or else where raw data usually are."""
    recorded = dataset.manifest.source.get("media_root")
    if isinstance(recorded, str) and "://" not in recorded and Path(recorded).is_dir():
        return Path(recorded)
    return Path(os.environ.get("MSE_DATA", "data")) / dataset.name


def _choose(clip: str, dataset: str | None, cache: str | None) -> str:
    """The dataset that is meant: the one named, or the only one that has the clip.

    Raises:
        UsageError: None has it, or several have.
    """
    from mse_pipeline.errors import UsageError, did_you_mean
    from mse_pipeline.store.cache import open_cache

    if dataset is not None:
        return dataset
    opened = open_cache(cache)
    ids = {name: {one.id for one in opened[name].clips} for name in opened}
    having = [name for name, known in ids.items() if clip in known]
    if len(having) == 1:
        return having[0]
    if having:
        raise UsageError(f"The clip {clip} is in {', '.join(having)}; say which with --dataset.")
    near = did_you_mean(clip, [one for known in ids.values() for one in known])
    raise UsageError(f"No dataset in the cache {opened.path} has a clip {clip}{near or '; mse cache ls lists them.'}")
