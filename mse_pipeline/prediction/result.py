"""Predictions of clips, and their files: Parquet, CSV or JSON lines by the ending, never in a run folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.backbones.answers import answer_values
from mse_pipeline.errors import UsageError
from mse_pipeline.metrics.coverage import NOT_TOLD, Coverage
from mse_pipeline.store.storage import aside, write_text
from mse_pipeline.task import Classification, Task
from mse_pipeline.training.run_files import RUN
from mse_pipeline.training.stored import StoredTraining

ABSENT = frozenset({"no_audio", "no_video", "no_face", "no_text", "too_short", "alignment_failed"})
"""What a clip may lack: the model was trained on such clips too, of which it read nothing in that modality, or rows
that are not pooled to words where no words are found."""


@dataclass(frozen=True)
class Remark:
    """Something that one should know of a prediction, or why there is none.

    Attributes:
        code: As in ``no_face``; those of `mse_pipeline.clip.DEFECT_CODES`, ``absent`` where nobody has extracted,
            ``transcribed`` where the text, which is the message, was heard in the clip's sound, or ``largest_face``
            where the model was trained on the speakers' faces and nothing tells who speaks.
        message: What was found, as a sentence.
        stream: Which features it is about; None for the clip as a whole.
    """

    code: str
    message: str
    stream: str | None = None


@dataclass(frozen=True)
class ClipPrediction:
    """What is predicted of one clip.

    Attributes:
        clip: Its id.
        media: The file as it was given, or as the table names it; None for a clip of a dataset.
        prediction: Class name, or number; None where nothing could be predicted.
        probabilities: Of every answer, by class name, or by number.
        remarks: What was absent or cut; of a clip without a prediction, why.
        target: Class name or number of the annotation, where there is one.
        split: Of a clip of a dataset.
        seed: Of the training that predicted.
    """

    clip: str
    media: str | None
    prediction: str | float | None
    probabilities: Mapping[str, float]
    remarks: tuple[Remark, ...] = ()
    target: str | float | None = None
    split: str | None = None
    seed: int | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of the predicted class; None for numbers, whose probability spreads over their neighbours."""
        return self.probabilities.get(self.prediction) if isinstance(self.prediction, str) else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the probabilities of numbers; None for classes."""
        if self.prediction is None or isinstance(self.prediction, str):
            return None
        pairs = [(float(name), share) for name, share in self.probabilities.items()]
        mean = sum(value * share for value, share in pairs)
        return float(sum(share * (value - mean) ** 2 for value, share in pairs) ** 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what does not concern the clip is left out."""
        plain = {
            "clip": self.clip,
            "media": self.media,
            "split": self.split,
            "seed": self.seed,
            "target": self.target,
            "prediction": self.prediction,
            "confidence": self.confidence,
            "deviation": self.deviation,
        }
        always = {"clip", "prediction"}
        return {
            **{name: value for name, value in plain.items() if value is not None or name in always},
            "probabilities": dict(self.probabilities),
            "remarks": [
                {name: value for name, value in vars(remark).items() if value is not None} for remark in self.remarks
            ],
        }


def having(predictions: Sequence[ClipPrediction], stream: str) -> tuple[int, int]:
    """How many of the clips that have a prediction were predicted with a stream, and of how many.

    Examples:
        >>> from dataclasses import replace
        >>> heard = ClipPrediction("a", None, "joy", {})
        >>> having([heard, replace(heard, remarks=(Remark("no_face", "", "visual.mtcnn"),))], "visual.mtcnn")
        (1, 2)
    """
    predicted = [clip for clip in predictions if clip.prediction is not None]
    lacking = [clip for clip in predicted if any(r.stream == stream and r.code in ABSENT for r in clip.remarks)]
    return len(predicted) - len(lacking), len(predicted)


def answer_names(task: Task) -> tuple[str, ...]:
    """What the answers mean, in their order, as texts: class names, or numbers with one decimal.

    Examples:
        >>> from mse_pipeline.task import Regression
        >>> answer_names(Regression(-0.1, 0.1))
        ('-0.1', '0.0', '0.1')
    """
    if isinstance(task, Classification):
        return task.classes
    return tuple(f"{value:.1f}" for value in answer_values(task))


def meaning(task: Task, value: Any) -> str | float:
    """A decoded value as it is told: the name of a class index, or the number."""
    return task.classes[int(value)] if isinstance(task, Classification) else float(value)


def spread(task: Task, probabilities: Sequence[float]) -> dict[str, float]:
    """Probabilities by the names of the answers."""
    return dict(zip(answer_names(task), map(float, probabilities), strict=True))


SUFFIXES = (".parquet", ".csv", ".jsonl")
_PLAIN = ("clip", "media", "split", "seed", "target", "prediction", "confidence", "deviation")


def check_outside(path: Path, stored: StoredTraining, option: str) -> None:
    """Refuse a path inside of the run's folder, which holds its results.

    Args:
        path: Where something is to be written.
        stored: The run.
        option: The option that gave the path.

    Raises:
        UsageError: It lies in the run's folder.
    """
    folder = stored.folder.resolve()
    own = {stored.path.resolve(), folder, *(above for above in folder.parents[:2] if (above / RUN).is_file())}
    if any(path.resolve().is_relative_to(home) for home in own):
        raise UsageError(
            f"{option} {path} lies in the run's own folder, where nothing may be written. Give another path."
        )


def check_out(path: Path, stored: StoredTraining) -> None:
    """Refuse a file that could not, or must not, be written, before the work is done.

    Raises:
        UsageError: Its ending is unknown, it is a folder, or it lies in the run's folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {path}: predictions are written as {', '.join(SUFFIXES)}, by the file's ending.")
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: give a file.")
    check_outside(path, stored, "--out")


def write_predictions(
    path: Path, predictions: Sequence[ClipPrediction], task: Task, coverage: Coverage = NOT_TOLD
) -> None:
    """Write one row a clip, the file whole or not at all.

    Probabilities are a list in Parquet, whose metadata ``mse.answers`` names them, a column each in CSV
    (``p_joy``), and an object in JSON lines.

    Args:
        path: The file.
        predictions: The rows; what a clip lacks stands in its remarks.
        task: What is predicted.
        coverage: Of a split, kept as the metadata ``mse.coverage`` of Parquet.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        lines = (json.dumps(clip.to_dict(), ensure_ascii=False) for clip in predictions)
        write_text(path, "".join(f"{line}\n" for line in lines))
    elif suffix == ".csv":
        write_text(path, _csv(predictions, task))
    else:
        _write_parquet(path, predictions, task, coverage)


def _columns(predictions: Sequence[ClipPrediction]) -> dict[str, list[Any]]:
    columns = {name: [getattr(clip, name) for clip in predictions] for name in _PLAIN}
    filled = {name: values for name, values in columns.items() if name in {"clip", "prediction"} or any(
        value is not None for value in values
    )}  # fmt: skip
    return {**filled, "remarks": ["; ".join(told(remark) for remark in clip.remarks) for clip in predictions]}


def told(remark: Any) -> str:
    """A remark as a short text: its code, and which features it is about."""
    return remark.code if remark.stream is None else f"{remark.code} ({remark.stream})"


def _csv(predictions: Sequence[ClipPrediction], task: Task) -> str:
    names = answer_names(task)
    columns = _columns(predictions)
    columns |= {f"p_{name}": [clip.probabilities.get(name) for clip in predictions] for name in names}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def _write_parquet(path: Path, predictions: Sequence[ClipPrediction], task: Task, coverage: Coverage) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = answer_names(task)
    lists = [[clip.probabilities[name] for name in names] if clip.probabilities else None for clip in predictions]
    columns = {**_columns(predictions), "probabilities": pa.array(lists, pa.list_(pa.float64()))}
    metadata = {"mse.answers": json.dumps(names, ensure_ascii=False), "mse.coverage": json.dumps(coverage.to_plain())}
    table = pa.table(columns).replace_schema_metadata(metadata)
    with aside(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
