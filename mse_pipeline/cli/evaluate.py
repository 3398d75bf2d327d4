"""mse evaluate: a run's predictions of a dataset in the cache, and its metrics; whether its backbone is unchanged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.options import CacheDir, Debug, Decoding, Device, Json, Quiet, Run, RunBackbone, Where
from mse_pipeline.cli.output import complain, emit_json, note, remark, settings, stdout
from mse_pipeline.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.prediction.dropping import Drop
    from mse_pipeline.prediction.evaluation import Evaluation
    from mse_pipeline.training.scoring import Decoding as Way
    from mse_pipeline.training.verification import Check, RunFolder

_SHOWN_CLASSES = 12
_CHECKED = 8  # test clips whose texts the backbone is compared on


def command(
    run: Run,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Seed of the training to use, or all. [default: the best on the validation split]",
            show_default=False,
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
    where: Where = None,
    decoding: Decoding = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=SHARE",
            help="Read a share of the clips without acoustic, visual or text, as acoustic=0.3; may be given several "
            "times.",
            show_default=False,
        ),
    ] = None,
    drop_table: Annotated[
        bool,
        typer.Option("--drop-table", help="A table over modalities and shares of the clips that lose them."),
    ] = False,
    drop_seed: Annotated[int, typer.Option(help="Of the draw of the clips that lose a modality.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the predictions to a file: .parquet, .csv or .jsonl.", show_default=False
        ),
    ] = None,
    backbone: RunBackbone = None,
    check_backbone: Annotated[
        bool,
        typer.Option(
            "--check-backbone",
            help="First check that training did not change the backbone, and that this copy gives the same numbers.",
        ),
    ] = False,
    cache: CacheDir = None,
    device: Device = "cpu",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict a split of a dataset with a trained run, and score the clips that have a label.

    With --check-backbone the checkpoint is first loaded again, as for training and by transformers alone; exit code 1
    if a bit of its weights or of its logits without the adapter differs.
    """
    wanted, used = parse_seed(seed), parse_decoding(decoding)
    from mse_pipeline.cli.progress import bar
    from mse_pipeline.prediction import evaluate
    from mse_pipeline.prediction.dropping import parse_drop
    from mse_pipeline.prediction.evaluation import evaluate_dropping
    from mse_pipeline.prediction.result import check_out, write_predictions
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.training.stored import open_stored, seeds_of

    if drop_table and (drop or out is not None):
        raise UsageError("--drop-table draws its own shares and writes no predictions: leave --drop and --out out.")
    dropped = parse_drop(drop or (), drop_seed)
    stored = open_stored(run, seeds_of(run)[0] if wanted == "all" else wanted)
    if out is not None:
        check_out(out, stored)
    checks = _check_backbone(run, cache, device) if check_backbone else []
    chosen = open_cache(cache)[dataset or stored.about.dataset]
    if drop_table:
        more = {"decoding": used, "backbone": backbone, "device": device, "where": where, "seed": wanted}
        told = evaluate_dropping(run, chosen, draw=drop_seed, split=parse_split(split), **more)
        _show_dropping(told, run)
        return
    with bar("") as progress:
        progress.add_task(f"evaluating on {chosen.name}, {split}", total=None, note="")
        evaluation = evaluate(
            run,
            chosen,
            split=parse_split(split),
            seed=wanted,
            decoding=used,
            backbone=backbone,
            device=device,
            where=where,
            drop=dropped if dropped.shares else None,
        )
    for sentence in (
        *(seed_scores.choice for seed_scores in evaluation.seeds if seed_scores.choice),
        *evaluation.remarks,
    ):
        remark(sentence)
    if out is not None:
        write_predictions(out, evaluation.predictions, stored.task, evaluation.coverage)
    if settings.json:
        emit_json(
            {**_plain(evaluation, run, out), **({"checks": [asdict(check) for check in checks]} if checks else {})}
        )
        return
    show_evaluation(evaluation, stdout())
    if out is not None:
        stdout().print(f"Predictions: {out}", markup=False)


def parse_seed(text: str | None) -> int | Literal["all"] | None:
    """A seed, ``all``, or None.

    Examples:
        >>> parse_seed("1111"), parse_seed("all")
        (1111, 'all')

    Raises:
        UsageError: The text is neither a number nor ``all``.
    """
    if text is None or text == "all":
        return None if text is None else "all"
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--seed is a number or all; got {text!r}.") from None


def parse_decoding(text: str | None) -> Way | None:
    """The name of a decoding, checked.

    Raises:
        UsageError: The decoding is unknown.
    """
    if text is None:
        return None
    from mse_pipeline.training.scoring import Decoding

    ways = get_args(Decoding)
    if text not in ways:
        raise UsageError(f"There is no decoding {text!r}{did_you_mean(text, ways)}; available are {', '.join(ways)}.")
    return text  # type: ignore[return-value]


def _check_backbone(run: Path, cache: str | None, device: str) -> list[Check]:
    """Compare the backbone on this machine with the one of the training, and print each comparison.

    Raises:
        typer.Exit: A bit differs.
    """
    from mse_pipeline.training.run_files import RESULT
    from mse_pipeline.training.verification import open_run, verify

    opened = open_run(run.resolve().parent if (run / RESULT).is_file() else run)
    checks = verify(opened, _texts(opened, cache), device)
    same = all(check.same for check in checks)
    if not settings.json:
        for check in checks:
            stdout().print(f"{'same  ' if check.same else 'DIFFER'}  {check.what}: {check.found}", markup=False)
    elif not same:
        emit_json({"run": str(run), "checks": [asdict(check) for check in checks]})
    if not same:
        complain(
            f"The backbone of {run} differs from its original checkpoint, so the results of the run are not valid."
        )
        raise typer.Exit(1)
    return checks


def _texts(run: RunFolder, cache: str | None) -> list[str]:
    """Texts of test clips; one empty text if the dataset is not in the cache."""
    from mse_pipeline.clip import Split
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    if run.dataset not in opened:
        remark(
            f"The cache {opened.path} has no dataset {run.dataset}, so the prompt is compared without a clip's text."
        )
        return [""]
    clips = opened[run.dataset].clips
    chosen = [clip.text for clip in clips if clip.split == Split.TEST] or [clip.text for clip in clips]
    return chosen[:_CHECKED] or [""]


def parse_split(text: str) -> Any:
    """The split of a name.

    Raises:
        UsageError: The split is unknown.
    """
    from mse_pipeline.clip import Split

    try:
        return Split(text)
    except ValueError:
        near = did_you_mean(text, Split, sentence=True)
        raise UsageError(f"There is no split {text!r}.{near} The splits are train, valid and test.") from None


def _plain(evaluation: Evaluation, run: Path, out: Path | None) -> dict[str, Any]:
    mean = evaluation.mean() if evaluation.labelled else {}
    return {
        "run": str(run),
        "dataset": evaluation.dataset,
        "split": evaluation.split.value,
        "decoding": evaluation.decoding,
        "clips": len(evaluation.seeds[0].predictions),
        "labelled": evaluation.labelled,
        "seeds": [
            {"seed": seed.seed, "metrics": dict(seed.metrics), "calibration": dict(seed.calibration)}
            for seed in evaluation.seeds
        ],
        "mean": {name: value for name, (value, _) in mean.items()},
        "deviation": {name: deviation for name, (_, deviation) in mean.items()},
        "coverage": evaluation.coverage.to_plain(),
        "remarks": list(evaluation.remarks),
        "out": None if out is None else str(out),
    }


def show_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print the metrics, one row per seed; without labels, how often each answer was predicted."""
    from mse_pipeline.backbones.none import NONE
    from mse_pipeline.metrics.coverage import told

    clips = len(evaluation.seeds[0].predictions)
    about = evaluation.stored.about
    model = evaluation.stored.config.model
    backbone = "" if about.backbone.name == NONE else f"{about.backbone.name}, "
    parts = "" if about.variant == "adapter" else f", {about.variant}"
    console.print(
        f"[bold]{escape(evaluation.dataset)}[/], {evaluation.split.value}: "
        f"{clips} clips, {evaluation.labelled} of them labelled. "
        f"Trained on {escape(about.dataset)} with {escape(backbone + model + parts)}; "
        f"decoding {evaluation.decoding}."
    )
    for stream in evaluation.coverage.streams:
        note(f"{stream}: {told(evaluation.coverage.parts(stream))} clips", console)
    console.print(_metrics(evaluation) if evaluation.labelled else _counts(evaluation))


def _show_dropping(told: Sequence[tuple[Drop, Evaluation]], run: Path) -> None:
    """Print the metrics of each modality and share, as JSON or as a table."""
    rows = [(next(iter(drop.shares.items()), ("nothing", 0.0)), evaluation.mean()) for drop, evaluation in told]
    names = list(rows[0][1])
    if settings.json:
        plain = [
            {"modality": modality, "share": share, "metrics": {name: mean for name, (mean, _) in scores.items()}}
            for (modality, share), scores in rows
        ]
        emit_json({"run": str(run), "split": told[0][1].split.value, "seed": told[0][0].seed, "rows": plain})
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("without", "of clips", *map(escape, names)):
        table.add_column(name, justify="left" if name == "without" else "right")
    for (modality, share), scores in rows:
        table.add_row(modality, f"{share:.0%}", *(_number(scores[name][0]) for name in names))
    stdout().print(table)


def _metrics(evaluation: Evaluation) -> Table:
    from mse_pipeline.metrics import errors

    table = Table(box=SIMPLE_HEAD)
    table.add_column("seed")
    names = list(evaluation.seeds[0].metrics)
    lower = errors(evaluation.metric_kind)
    for name in names:
        table.add_column(f"{escape(name)} {'↓' if name in lower else '↑'}", justify="right")
    for seed in evaluation.seeds:
        table.add_row(str(seed.seed), *(_number(seed.metrics[name]) for name in names))
    if len(evaluation.seeds) > 1:
        table.add_section()
        mean = evaluation.mean()
        table.add_row(
            "mean ± sd",
            *(
                _number(mean[name][0]) + ("" if mean[name][1] is None else f" ± {_number(mean[name][1])}")
                for name in names
            ),
            style="bold",
        )
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _counts(evaluation: Evaluation) -> Table:
    table = Table(box=SIMPLE_HEAD, title="No clip has a label. Predicted:", title_justify="left")
    table.add_column("prediction")
    table.add_column("clips", justify="right")
    counts = Counter(str(prediction.prediction) for prediction in evaluation.seeds[0].predictions)
    for name, count in counts.most_common(_SHOWN_CLASSES):
        table.add_row(escape(name), str(count))
    if len(counts) > _SHOWN_CLASSES:
        table.add_row(f"{len(counts) - _SHOWN_CLASSES} others", str(sum(sorted(counts.values())[:-_SHOWN_CLASSES])))
    return table
