"""Options that several commands share."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from mse_pipeline.cli.output import settings


def _set(name: str) -> object:
    def store(value: bool) -> bool:
        setattr(settings, name, value)
        return value

    return store


def within(panel: str, option: object) -> Any:
    """An option of this module, under a heading of a command's help that others do not have."""
    placed = copy(get_args(option)[1])
    placed.rich_help_panel = panel
    return placed


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_set("json"),
        help="Print one JSON object, last on stdout.",
        rich_help_panel="Output",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=_set("quiet"),
        help="Only results and errors: no progress, notes or hints.",
        rich_help_panel="Output",
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_set("debug"), help="Show the traceback of an error.", rich_help_panel="Output"),
]
CacheDir = Annotated[
    str | None,  # not a Path, which takes one slash of s3:// away
    typer.Option(
        "--cache",
        help="Folder or URL (s3://…) of the feature cache. [default: $MSE_CACHE or ./cache]",
        show_default=False,
    ),
]
Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="Folder of the raw files, or its URL as in s3://BUCKET/FOLDER. [default: $MSE_DATA/DATASET or "
        "data/DATASET]",
        show_default=False,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Encoding of a table that is named in place of a dataset, as in euc-kr. [default: found out]",
        show_default=False,
    ),
]
MediaRoot = Annotated[
    str | None,
    typer.Option(
        "--media-root",
        metavar="DIR",
        help="Folder that a table's media paths start from; absolute paths below it may be read, too. "
        "[default: --root where there is one, then the table's folder]",
        show_default=False,
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links",
        help="Follow symbolic links that lead out of the folder, and out of the repository (git-annex, DataLad, DVC, "
        "Hugging Face's cache) that it is part of.",
    ),
]
RunsDir = Annotated[Path, typer.Option("--runs", help="Folder of the training runs.")]
Device = Annotated[str, typer.Option(help="Where models run: cpu, cuda, cuda:1, mps.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe, as training.epochs=3 or streams.visual.mtcnn.detect_every=2; null resets "
        "it. May be given several times.",
        show_default=False,
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help='Only clips that meet a condition, as in "face_share > 0.5 and snr > 10" (docs/training.md).',
        show_default=False,
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        help="One training for each seed; may be given several times. [default: the recipe's]",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Which training of a run. [default: the best by its validation split]",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes. [default: one for each core]", show_default=False),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of the model on the hub. [default: the newest]",
        show_default=False,
    ),
]
Decoding = Annotated[
    str | None,
    typer.Option(
        "--decoding",
        help="greedy, likeliest, expected or median. [default: as trained, or the recipe's]",
        show_default=False,
    ),
]
RunBackbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Where the run's backbone is, if it has moved: a hub name, which may be downloaded, or a folder.",
        show_default=False,
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, a seed's folder in it, or an adapter's.")]
Target = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="A dataset (meld), a recipe file (my.yaml), or a clip table (clips.csv)."),
]
