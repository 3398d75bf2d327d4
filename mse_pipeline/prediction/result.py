"""What is predicted of a clip, and as what it is written to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mse_pipeline.backbones.answers import answer_values
from mse_pipeline.task import Classification, Task

ABSENT = frozenset({"no_audio", "no_video", "no_face", "no_text", "too_short", "alignment_failed"})
"""What a clip may lack: the model was trained on such clips too, of which it read nothing in that modality, or rows
that are not pooled to words where no words are found."""


@dataclass(frozen=True)
class Remark:
    """Something that one should know of a prediction, or why there is none.

    Attributes:
        code: As in ``no_face``; those of `mse_pipeline.clip.DEFECT_CODES`, or ``absent`` where nobody has extracted.
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
        media: The file; None for a clip of a dataset.
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
        told = {
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
            **{name: value for name, value in told.items() if value is not None or name in always},
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
    made = [one for one in predictions if one.prediction is not None]
    lacking = [one for one in made if any(r.stream == stream and r.code in ABSENT for r in one.remarks)]
    return len(made) - len(lacking), len(made)


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
