"""mse predict: predict new media files, whose features are extracted exactly as the run's were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.evaluate import parse_decoding
from mse_pipeline.cli.options import (
    Debug,
    Decoding,
    Device,
    Encoding,
    FollowLinks,
    Json,
    MediaRoot,
    Quiet,
    Run,
    RunBackbone,
    Seed,
    Workers,
)
from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout
from mse_pipeline.errors import UsageError
from mse_pipeline.report.runs import shown
from mse_pipeline.task import Classification, Task

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.corpora.base import Corpus
    from mse_pipeline.prediction import ClipPrediction, Predictor

_BAR = 10  # characters of a whole bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SHOWN_CLIPS = 200
_SHOWN_REMARKS = 8


def command(
    run: Run,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Media files, or one table of clips (id, media, …).")
    ],
    text: Annotated[str | None, typer.Option(help="The text that is spoken in the file.", show_default=False)] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table with the text of each file: a column clip, id, file or media, and a column text or transcript.",
            show_default=False,
        ),
    ] = None,
    transcripts: Annotated[
        bool,
        typer.Option(
            "--transcripts", help="Read the text of each file from a text file beside it: talk.txt for talk.mp4."
        ),
    ] = False,
    encoding: Encoding = None,
    media_root: MediaRoot = None,
    follow_links: FollowLinks = False,
    seed: Seed = None,
    decoding: Decoding = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the predictions to a file: .parquet, .csv or .jsonl.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the features in this folder, a cache; clips in it are not extracted again.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
    backbone: RunBackbone = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAM=PLACE",
            help="Path or hub name of an extractor's model, if it has moved; may be given several times.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict new media files with a trained run. Their features are extracted exactly as the run's were.

    A clip without a face, sound or text is predicted without it, with a remark. Exit code 3 if a file cannot be read.
    """
    used, models = parse_decoding(decoding), parse_models(model or [])
    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.cli.train import spare_threads
    from mse_pipeline.prediction import Predictor
    from mse_pipeline.prediction.result import check_out, check_outside, write_predictions
    from mse_pipeline.training.stored import open_stored

    stored = open_stored(run, seed)
    if out is not None:
        check_out(out, stored)
    if keep is not None:
        check_outside(keep, stored, "--keep")
    with bar("clips") as progress:
        shown = ExtractionBar(progress)
        shown.stage("opening the run")
        predictor = Predictor.open(run, seed=seed, backbone=backbone, models=models, decoding=used, device=device)
        spare_threads(predictor.backbone, stored.config)
        corpus = predictor.gather(
            files,
            _texts(files, text, texts, transcripts, encoding),
            encoding=encoding,
            media_root=media_root,
            follow_links=follow_links,
        )
        predictions = predictor.predict_corpus(corpus, files=files, keep=keep, workers=workers, progress=shown)
    for sentence in _remarks(predictor, corpus):
        remark(sentence)
    if out is not None:
        write_predictions(out, predictions, predictor.task)
    failed = sum(clip.prediction is None for clip in predictions)
    if settings.json:
        emit_json(_plain(predictor, corpus, predictions, failed, out))
    else:
        show_predictions(predictions, predictor.task, stdout())
        for name, (had, of) in _having(predictor, predictions).items():
            note(f"{name}: {had:,} of {of:,} predicted clips have it")
        for name, where in (("Predictions", out), ("Features", keep)):
            if where is not None:
                stdout().print(f"{name}: {where}", markup=False)
    if failed:
        raise typer.Exit(3)


def parse_models(texts: list[str]) -> dict[str, str]:
    """The path of the model of each stream, from texts STREAM=PLACE.

    Examples:
        >>> parse_models(["acoustic.wavlm=models/wavlm-large"])
        {'acoustic.wavlm': 'models/wavlm-large'}

    Raises:
        UsageError: A text is not STREAM=PLACE.
    """
    folders = {}
    for text in texts:
        stream, equals, folder = text.partition("=")
        if not (stream and equals and folder):
            raise UsageError(f"--model is written STREAM=PLACE, as in acoustic.wavlm=DIR; got {text!r}.")
        folders[stream] = folder
    return folders


def _texts(
    files: list[Path], text: str | None, texts: Path | None, transcripts: bool, encoding: str | None
) -> dict[Any, str]:
    """The text of each file, from one of the three options."""
    from mse_pipeline.prediction.predictor import TABLES, texts_beside, texts_of_table

    if sum((text is not None, texts is not None, transcripts)) > 1:
        raise UsageError("Give only one of --text, --texts and --transcripts.")
    if text is not None and (len(files) > 1 or files[0].suffix.lower() in TABLES):
        raise UsageError("--text is for one file. For several files use --texts TABLE or --transcripts.")
    if text is not None:
        return {files[0]: text}
    if texts is not None:
        return dict(texts_of_table(texts, files, encoding))
    return dict(texts_beside(files)) if transcripts else {}


def _remarks(predictor: Predictor, corpus: Corpus) -> list[str]:
    """Sentences about all predictions together."""
    from mse_pipeline.corpora.overview import overview

    sentences = [predictor.stored.choice] if predictor.stored.choice else []
    if corpus.sources:
        sentences.append(overview(corpus.clips, corpus.task).sentence(labelled=False))
    sentences += corpus.notes
    given = predictor.reads_text and not predictor.hears_texts
    without = sum(not clip.text for clip in corpus.clips) if given else 0
    if without:
        sentences.append(
            f"{without} of {len(corpus.clips)} clips have no text, but the model was trained with texts. Give them "
            "with --text, --texts or --transcripts."
        )
    turns = predictor.stored.about.prompt.context
    if turns and not any(clip.dialogue for clip in corpus.clips):
        sentences.append(
            f"The model was trained with the {turns} turns before a clip, but these clips have none. Use a table of "
            "clips with the columns dialogue, turn and speaker."
        )
    return sentences


def _plain(
    predictor: Predictor, corpus: Corpus, predictions: list[ClipPrediction], failed: int, out: Path | None
) -> dict[str, Any]:
    from mse_pipeline.corpora.overview import overview

    return {
        "run": str(predictor.stored.path),
        "seed": predictor.stored.seed,
        "backbone": predictor.backbone.source,
        "streams": [stream.name for stream in predictor.stored.streams.values()],
        "having": {name: had for name, (had, _) in _having(predictor, predictions).items()},
        "decoding": predictor.decoding,
        "understood": overview(corpus.clips, corpus.task).to_dict(labelled=False),
        "notes": list(corpus.notes),
        "predictions": [prediction.to_dict() for prediction in predictions],
        "failed": failed,
        "out": None if out is None else str(out),
    }


def _having(predictor: Predictor, predictions: list[ClipPrediction]) -> dict[str, tuple[int, int]]:
    """By stream, how many of the predicted clips have it, of how many."""
    from mse_pipeline.prediction.result import having

    return {stream.name: having(predictions, stream.name) for stream in predictor.stored.streams.values()}


def show_predictions(predictions: Sequence[ClipPrediction], task: Task, console: Console) -> None:
    """Print a row a clip, and below the table what its remarks mean."""
    classes = isinstance(task, Classification)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("clip", overflow="fold")
    table.add_column("prediction", style="bold")
    table.add_column("confidence" if classes else "± sd", no_wrap=True)
    if classes:
        table.add_column("next", style="dim")
    table.add_column("remarks", overflow="fold")
    for prediction in predictions[:_SHOWN_CLIPS]:
        table.add_row(*_cells(prediction, classes))
    console.print(table)
    if len(predictions) > _SHOWN_CLIPS:
        note(f"and {len(predictions) - _SHOWN_CLIPS:,} more clips; --out FILE writes all of them.", console)
    _show_remarks(predictions, console)


def _cells(clip: ClipPrediction, classes: bool) -> list[str]:
    remarks = ", ".join(
        f"[{'red' if clip.prediction is None else 'yellow'}]{escape(code)}[/]"
        for code in dict.fromkeys(remark.code for remark in clip.remarks)
    )
    name = escape(shown(clip.clip, 120))
    if clip.prediction is None:
        return [name, "[red]–[/]", "", *([""] if classes else []), remarks]
    if not isinstance(clip.prediction, str):
        return [name, f"{clip.prediction:.2f}", f"{clip.deviation or 0.0:.2f}", remarks]
    others = sorted(
        ((share, other) for other, share in clip.probabilities.items() if other != clip.prediction), reverse=True
    )
    following = f"{shown(others[0][1], 30)} {others[0][0]:.0%}" if others else ""
    return [name, escape(shown(clip.prediction, 40)), _bar(clip.confidence or 0.0), escape(following), remarks]


def _bar(share: float) -> str:
    """A share as a bar and a number.

    Examples:
        >>> _bar(0.5)
        '█████      50%'
    """
    eighths = round(share * _BAR * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{bar:<{_BAR}} {share:>4.0%}"


def _show_remarks(predictions: Sequence[ClipPrediction], console: Console) -> None:
    """Each kind of remark once, by the first clip that has it."""
    kinds: dict[tuple[str, str | None], tuple[str, str, int]] = {}
    for prediction in predictions:
        for found in prediction.remarks:
            clip, message, count = kinds.get((found.code, found.stream), (prediction.clip, found.message, 0))
            kinds[found.code, found.stream] = (clip, message, count + 1)
    for (code, stream), (clip, message, count) in list(kinds.items())[:_SHOWN_REMARKS]:
        of = f" ({stream})" if stream else ""
        more = f" and {count - 1:,} more" if count > 1 else ""
        note(f"{code}{of}: {shown(clip, 120)}{more}: {shown(message, 400)}", console)
