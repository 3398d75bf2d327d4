"""mse evaluate: a run's predictions of a dataset in the cache, and its metrics.

What an evaluation says on the terminal.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.options import CacheDir, Debug, Device, Json, Quiet
from mse_pipeline.cli.output import emit_json, remark, settings, stdout
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.metrics import errors
from mse_pipeline.metrics.coverage import told

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.prediction.evaluation import Evaluation
    from mse_pipeline.training.scoring import Decoding


_SHOWN_CLASSES = 12


def show(found: Evaluation, console: Console) -> None:
    """Print the metrics, a row a seed; what was predicted how often, where nothing is known to compare with."""
    clips = len(found.seeds[0].predictions)
    about = found.stored.about
    console.print(
        f"[bold]{escape(found.dataset)}[/], {found.split.value}: {clips} clips, {found.labelled} of them labelled. "
        f"Trained on {escape(about.dataset)} with {escape(about.backbone.name)}, {escape(about.variant)}; "
        f"decoding {found.decoding}."
    )
    for stream in found.coverage.streams:
        console.print(f"{escape(stream)}: {told(found.coverage.parts(stream))} clips")
    console.print(_metrics(found) if found.labelled else _counts(found))


def _metrics(found: Evaluation) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("seed")
    names = list(found.seeds[0].metrics)
    lower = errors(found.metric_kind)
    for name in names:
        table.add_column(f"{escape(name)} {'↓' if name in lower else '↑'}", justify="right")
    for seed in found.seeds:
        table.add_row(str(seed.seed), *(_number(seed.metrics[name]) for name in names))
    if len(found.seeds) > 1:
        table.add_section()
        mean = found.mean()
        table.add_row(
            "mean ± sd",
            *(
                _number(mean[name][0]) + ("" if mean[name][1] is None else f" ± {_number(mean[name][1])}")
                for name in names
            ),
            style="bold",
        )
    return table


def _counts(found: Evaluation) -> Table:
    table = Table(box=SIMPLE_HEAD, title="No clip has a label. Predicted:", title_justify="left")
    table.add_column("prediction")
    table.add_column("clips", justify="right")
    counts = Counter(str(one.prediction) for one in found.seeds[0].predictions)
    for name, count in counts.most_common(_SHOWN_CLASSES):
        table.add_row(escape(name), str(count))
    if len(counts) > _SHOWN_CLASSES:
        table.add_row(f"{len(counts) - _SHOWN_CLASSES} others", str(sum(sorted(counts.values())[:-_SHOWN_CLASSES])))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


SEED_HELP = "Which training of the run. [default: the best by its validation split]"
BACKBONE_HELP = "Where the run's backbone is, if it has moved: a hub name, which may be downloaded, or a folder."


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, a seed's folder in it, or an adapter's.")],
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Which training of the run, or all. [default: the best by validation]", show_default=False
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="test, valid or train.")] = "test",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Another dataset in the cache, with the same task and features. [default: the run's]",
            show_default=False,
        ),
    ] = None,
    decoding: Annotated[
        str | None,
        typer.Option(help="greedy, likeliest, expected or median. [default: the run's]", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write predictions by clip: .parquet, .csv or .jsonl.", show_default=False),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help=BACKBONE_HELP, show_default=False)] = None,
    cache: CacheDir = None,
    device: Device = "cpu",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict a split of a dataset with a trained run, and score the clips that have a label."""
    wanted, used = parse_seed(seed), parse_decoding(decoding)
    from mse_pipeline.cli.progress import bar
    from mse_pipeline.prediction import evaluate
    from mse_pipeline.prediction.result import check_out, write
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.training.stored import open_stored, seeds_of

    stored = open_stored(run, seeds_of(run)[0] if wanted == "all" else wanted)
    if out is not None:
        check_out(out, stored)
    chosen = open_cache(cache)[dataset or stored.about.dataset]
    with bar("") as progress:
        progress.add_task(f"evaluating on {chosen.name}, {split}", total=None, note="")
        found = evaluate(
            run, chosen, split=parse_split(split), seed=wanted, decoding=used, backbone=backbone, device=device
        )
    for sentence in (*(one.choice for one in found.seeds if one.choice), *found.remarks):
        remark(sentence)
    if out is not None:
        write(out, found.predictions, stored.task, found.coverage)
    if settings.json:
        emit_json(_plain(found, run, out))
        return
    show(found, stdout())
    if out is not None:
        stdout().print(f"Predictions: {out}", markup=False)


def parse_seed(text: str | None) -> int | Literal["all"] | None:
    """A seed's number, ``all``, or none.

    Examples:
        >>> parse_seed("1111"), parse_seed("all")
        (1111, 'all')

    Raises:
        UsageError: It is none of them.
    """
    if text is None or text == "all":
        return None if text is None else "all"
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--seed is the number of a training, or all; got {text!r}.") from None


def parse_decoding(text: str | None) -> Decoding | None:
    """The decoding that a word names.

    Raises:
        UsageError: There is none of that name.
    """
    if text is None:
        return None
    from mse_pipeline.training.scoring import Decoding

    known = get_args(Decoding)
    if text not in known:
        raise UsageError(f"There is no decoding {text!r}{did_you_mean(text, known)}; there are {', '.join(known)}.")
    return text  # type: ignore[return-value]


def parse_split(text: str) -> Any:
    """The split that a word names.

    Raises:
        UsageError: There is none of that name.
    """
    from mse_pipeline.clip import Split

    try:
        return Split(text)
    except ValueError:
        raise UsageError(f"There is no split {text!r}; there are train, valid and test.") from None


def _plain(found: Evaluation, run: Path, out: Path | None) -> dict[str, Any]:
    mean = found.mean() if found.labelled else {}
    return {
        "run": str(run),
        "dataset": found.dataset,
        "split": found.split.value,
        "decoding": found.decoding,
        "clips": len(found.seeds[0].predictions),
        "labelled": found.labelled,
        "seeds": [{"seed": one.seed, "metrics": dict(one.metrics)} for one in found.seeds],
        "mean": {name: value for name, (value, _) in mean.items()},
        "deviation": {name: deviation for name, (_, deviation) in mean.items()},
        "coverage": found.coverage.to_plain(),
        "remarks": list(found.remarks),
        "out": None if out is None else str(out),
    }
