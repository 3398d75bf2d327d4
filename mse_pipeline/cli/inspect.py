"""mse inspect: show what was extracted from one clip as a picture and a page, or the faces of a whole dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse_pipeline.cli.cache import pick
from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.names import file_name

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset

FOLDER = Path("inspect")
"""Where pictures and pages go by default."""


def command(
    clip: Annotated[
        str | None,
        typer.Argument(
            metavar="CLIP",
            help="The clip's id, as in train/dia0_utt0; with --sheet or --people a dataset. [default there: the only "
            "one]",
            show_default=False,
        ),
    ] = None,
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
    out: Annotated[Path, typer.Option(help="Folder for the picture and the page.")] = FOLDER,
    frames: Annotated[int, typer.Option(min=1, max=24, help="Largest number of frames that are shown.")] = 8,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Instead show the chosen face of each clip of a dataset.", show_default=False
        ),
    ] = None,
    people: Annotated[
        bool, typer.Option("--people", help="Instead show the faces of a dataset by the name that they were given.")
    ] = False,
    stream: Annotated[
        str | None,
        typer.Option(help="Stream that --sheet and --people show. [default: the first with faces]", show_default=False),
    ] = None,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what was extracted from a clip: frames with faces, waveform, words, features, defects.

    Or look at a whole dataset before a long training: --sheet shows the face of each clip, doubtful ones first.
    --people shows the faces of each name, and writes a table in which you can correct wrong names.
    """
    from mse_pipeline.store.cache import open_cache

    if sheet is not None or people:
        chosen = pick(open_cache(cache), dataset or clip, "mse inspect")
        _of_dataset(chosen, root, out, sheet, people=people, stream=stream)
        return
    if clip is None:
        raise UsageError(
            "Name a clip, as in mse inspect train/dia0_utt0, or look at a whole dataset: --sheet FILE.html"
        )
    from mse_pipeline.inspection.collect import collect
    from mse_pipeline.inspection.picture import draw_picture, undrawable, write_page
    from mse_pipeline.store.storage import aside, write_text

    opened = open_cache(cache)[_choose(clip, dataset, cache)]
    home = _home(opened, root)
    inspection = collect(opened, clip, home, frames)
    page = out / page_name(opened.name, clip)
    picture = page.with_suffix(".png")
    with aside(picture) as temporary:
        temporary.write_bytes(draw_picture(inspection))
    write_text(page, write_page(inspection))
    if settings.json:
        problems = [{"code": code, "message": message} for code, message in inspection.problems]
        files = {"picture": str(picture), "page": str(page)}
        emit_json({"clip": clip, "dataset": opened.name, **files, "problems": problems})
        return
    if missing := undrawable(inspection):
        some = f"{missing[:8]}{'…' if len(missing) > 8 else ''}"
        remark(
            f"No font here has {some}, so {picture.name} shows squares in their place; the page shows the text. "
            "Install Noto Sans CJK (Linux: apt install fonts-noto-cjk) for Chinese, Japanese and Korean."
        )
    for code, message in inspection.problems:
        note(f"{code}: {message}")
    stdout().print(f"{picture}\n{page}", markup=False)


def page_name(dataset: str, clip: str) -> str:
    """Name of a clip's page.

    Examples:
        >>> page_name("meld", "train/dia0_utt0")
        'meld-train_dia0_utt0.html'
    """
    return f"{file_name(f'{dataset}-{clip}')}.html"


def _of_dataset(
    opened: Dataset, root: Path | None, out: Path, sheet: Path | None, *, people: bool, stream: str | None
) -> None:
    """Write the sheet of a dataset's faces, or the gallery of its people with the table beside it, or both."""
    from mse_pipeline.inspection.faces import write_people, write_sheet

    home, workers = _home(opened, root), os.cpu_count() or 1
    files: dict[str, list[str]] = {}
    if sheet is not None:
        pages = write_sheet(opened, home, sheet, stream=stream, workers=workers)
        files["sheet"] = [str(page) for page in pages]
    if people:
        page, table = (out / f"{file_name(opened.name)}-people.{ending}" for ending in ("html", "csv"))
        write_people(opened, home, page, table, stream=stream, workers=workers)
        files |= {"people": [str(page)], "table": [str(table)]}
    if settings.json:
        emit_json({"dataset": opened.name, **files})
        return
    for name in (name for names in files.values() for name in names):
        stdout().print(name, markup=False)


def _home(dataset: Dataset, root: Path | None) -> Path | None:
    """Folder of the media: --root, else the folder that they were extracted from, else the usual one.

    Returns:
        The folder, or None with a remark if it does not exist.
    """
    recorded = dataset.manifest.source.get("media_root")
    usual = Path(os.environ.get("MSE_DATA", "data")) / dataset.name
    known = [Path(recorded)] if isinstance(recorded, str) and "://" not in recorded else []
    asked = [root] if root is not None else [*known, usual]
    for home in asked:
        if home.is_dir():
            return home
    where = f"There is no folder {asked[0]}"
    if root is None and recorded:
        where = f"The features were extracted from {recorded}, " + (
            "which has moved or is not mounted" if known else "which is not on this machine"
        )
    remark(f"{where}, so no frames and no sound are shown. Use --root for the folder of the raw files.")
    return None


def _choose(clip: str, dataset: str | None, cache: str | None) -> str:
    """The dataset of --dataset, or the only one that has the clip.

    Raises:
        UsageError: No dataset has the clip, or several have it.
    """
    from mse_pipeline.store.cache import open_cache

    if dataset is not None:
        return dataset
    opened = open_cache(cache)
    ids = {name: {row.id for row in opened[name].clips} for name in opened}
    datasets = [name for name, clip_ids in ids.items() if clip in clip_ids]
    if len(datasets) == 1:
        return datasets[0]
    if datasets:
        raise UsageError(f"The clip {clip} is in several datasets: {', '.join(datasets)}. Choose one with --dataset.")
    near = did_you_mean(clip, [clip_id for clip_ids in ids.values() for clip_id in clip_ids])
    raise UsageError(f"No dataset in the cache {opened.path} has a clip {clip}{near or '; mse cache ls lists them.'}")
