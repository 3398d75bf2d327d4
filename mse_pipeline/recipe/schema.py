"""Recipe: what a pipeline file may say, with the defaults of what it leaves out."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mse_pipeline.errors import did_you_mean
from mse_pipeline.task import Classification, Regression, Task

# Strict scalars: `epochs: true` or `language: 1` is a slip of the pen, not a number or a text.
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
StreamName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]

Auto = Literal["auto"]


def _learning_rate(value: object) -> float | Auto:
    if value == "auto":
        return "auto"
    given = repr(value)[:60]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a valid number, got {given}{did_you_mean(str(value).lower(), ['auto'])}")
    if not value > 0:
        raise ValueError(f"must be greater than 0, got {given}")
    return float(value)


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Names of datasets in the cache: they become folder names."""


class Section(BaseModel):
    """Base of all parts of a recipe: unknown keys are errors, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


ASR = "text.asr"
"""The extractor of transcripts."""


class CorpusSection(Section):
    """Which corpus reader lists the clips, and where their texts are from.

    Attributes:
        name: The reader.
        options: Its options, which it checks itself.
        text: ``asr``: clips without a text have what speech recognition hears (the recipe's stream of the extractor
            `text.asr`, which is added where there is none); ``asr-all``: all clips do. None for what the corpus has.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    text: Literal["asr", "asr-all"] | None = None


class MediaSection(Section):
    """How media are decoded.

    Attributes:
        max_seconds: Longer clips are cut to their first seconds; None for no limit.
        faces: Table below the root with the columns ``clip`` and ``face``: whom to follow where the policy is wrong.
        people: Table below the root with the columns ``clip``, ``track`` and ``name``: who the policy ``speaker`` is to
            take a face for, as `mse inspect --people` writes it.
    """

    max_seconds: Annotated[Number, Field(gt=0)] | None = 30.0
    faces: str | None = None
    people: str | None = None


class NoAlignment(Section):
    """Every stream keeps its own clock and its own length."""

    kind: Literal["none"] = "none"


class GridAlignment(Section):
    """All streams on one grid of equal steps.

    Attributes:
        step: Width of a step in seconds.
    """

    kind: Literal["grid"]
    step: Annotated[Number, Field(gt=0, le=60)]


class EqualBinsAlignment(Section):
    """Every clip cut into the same number of equal parts. No alignment on words, whatever it is called elsewhere.

    Attributes:
        bins: Number of parts.
    """

    kind: Literal["equal_bins"]
    bins: Annotated[Whole, Field(ge=1, le=100_000)]


class WordsAlignment(Section):
    """All streams on the words of one of them.

    Attributes:
        stream: The stream whose rows are words, as ``text.word_times`` and ``text.ctc`` make them.
        pool: What is made of the rows that fall into a word.
        silence: Whether silences between words have rows of their own.
        subtokens: Folder or hub name of a tokenizer to whose sub-tokens the words are expanded; None for words.
    """

    kind: Literal["words"]
    stream: Annotated[str, Field(pattern=r"^text\.[a-z][a-z0-9_]*$")]
    pool: Literal["mean", "max", "std", "functionals"] = "mean"
    silence: Literal["drop", "keep"] = "drop"
    subtokens: str | None = None

    @model_validator(mode="after")
    def _silence_has_no_subtokens(self) -> WordsAlignment:
        if self.subtokens is not None and self.silence == "keep":
            raise ValueError("silence has no sub-tokens: leave out subtokens, or say silence: drop")
        return self


Alignment = Annotated[NoAlignment | GridAlignment | WordsAlignment | EqualBinsAlignment, Field(discriminator="kind")]


class ClassificationSection(Section):
    """One of several classes; their order is their index.

    Attributes:
        classes: Their names.
        metrics: Family of the metrics that are reported, as in ``meld``; empty for the usual ones of the corpus.
    """

    kind: Literal["classification"]
    classes: tuple[str, ...]
    metrics: Annotated[str, Field(strict=True)] = ""

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2:
            raise ValueError(f"at least two classes are needed, got {len(classes)}")
        for index, name in enumerate(classes):
            if not name.strip() or name != name.strip():
                raise ValueError(f"class {index} ({name!r}) must be a name without blanks around it")
            if name in classes[:index]:
                raise ValueError(f"class {name!r} is there twice")
        return classes


class RegressionSection(Section):
    """A number between `low` and `high`, both included.

    Attributes:
        low: Of the range.
        high: Of the range.
        metrics: As in `ClassificationSection`.
    """

    kind: Literal["regression"]
    low: Number
    high: Number
    metrics: Annotated[str, Field(strict=True)] = ""

    @model_validator(mode="after")
    def _ordered(self) -> RegressionSection:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        return self


class PromptSection(Section):
    """How the backbone is asked.

    Attributes:
        language: Language of the tags around the input, ``en`` or ``zh``.
        task: The question after the input; None for one that is made from the classes or the range.
        label_words: Whether classes are answered by their names (``joy``); by their indices (``4``) as in the paper.
        context: How many previous turns of the dialogue are read, with their speakers; none in the paper.
        case: ``auto``: texts that are wholly in capitals, as the transcripts of CMU-MOSI, are read in lower case, in
            which language models have seen most words; ``lower``: all texts; ``as-written``: none, as in the paper.
    """

    language: Literal["en", "zh"] = "en"
    task: str | None = None
    label_words: Annotated[bool, Field(strict=True)] = False
    context: Annotated[Whole, Field(ge=0, le=100)] = 0
    case: Literal["as-written", "auto", "lower"] = "as-written"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; without `case` where it is as it was before there was one, so that digests stay."""
        plain = self.model_dump(mode="json")
        return plain if self.case != "as-written" else {name: plain[name] for name in plain if name != "case"}


class Training(Section):
    """How the adapter is trained. The defaults are those of the paper where it has one for all backbones.

    Attributes:
        epochs: Epochs that the cosine schedule spans, and the most that are trained.
        batch_size: Clips a step.
        learning_rate: Peak of the schedule; ``auto`` for the one that a range test finds, anew for each seed.
        weight_decay: Of AdamW.
        adam_epsilon: Of AdamW; the paper's 1e-4 is larger than torch's default.
        warm_up: Share of all steps in which the rate rises from zero to its peak.
        patience: Epochs without a better validation score before training stops (paper: 8 for classes, 10 for numbers).
        clip_norm: Largest norm of all gradients together; None for no limit.
        seeds: One training for each.
        pseudo_tokens: Tokens n that the adapter makes for a clip; 0 where a head reads the fused vector beside the
            backbone's state, and the backbone reads each text once in a training.
        acoustic_hidden: Width of the acoustic LSTM, or of that in whose place another encoder stands.
        visual_hidden: Width of the visual LSTM, likewise.
        dropout: Share of the encoders' states, and of what a head reads, that is dropped in training.
        row_dropout: In training, the share of each sequence's rows that are set to 0, which is the mean.
        modality_dropout: In training, the probability that a clip is read without a stream that it has.
        feature_noise: In training, the standard deviation of the Gaussian noise on normalised values.
        time_mask: In training, the share of each sequence that one span of rows set to 0 covers (SpecAugment).
        label_smoothing: Share of the target that the right class gives to all classes alike; numbers are not smoothed.
        average: Decay of the exponential moving average of the weights, which is then what is evaluated and kept, as
            .99 for about the last hundred steps; 0 for the weights themselves.
        keep: Whose weights are the result: ``best``, those of the epoch with the best validation score, or ``last``,
            those of the last epoch. A validation split of a hundred clips chooses half by chance; then training stops
            early no more.
        decoding: How a prediction is made of the answers' probabilities: ``greedy`` (token by token, the paper's),
            ``likeliest`` answer, and for numbers ``expected`` value or ``median``.
        class_weights: ``balanced``: in the loss all classes together count alike, rare ones as much as frequent ones;
            ``none``: all clips do.
        targets: What is learned: ``label``, the class of each clip; or ``distribution``, the shares of its annotators'
            votes, and of a clip without votes its label.
        defined_share: Whether rows of streams in which values may be undefined have a further value: the share of
            those that are defined.
        model: What is trained beside the backbone, see `mse_pipeline.adapter.models`.
        model_options: Options of that model; the MSE-Adapter has none.
        encoder: What makes one vector of a stream's rows: ``lstm`` (the paper's), ``attentive`` (convolutions and
            attentive statistics) or ``bilstm-attentive``; none has more parameters than the LSTM of the same width.
        place: Where the pseudo tokens stand: ``before-text`` (the paper's), ``behind-text``, or ``before-answer``,
            behind the whole prompt, which the backbone then reads once and not in each epoch.
        pseudo_scale: ``matched``: pseudo tokens begin as large as the backbone's token embeddings; ``free``: as the
            projector makes them, as in the paper.
        answer: Who answers: ``spelled``, the backbone with its own words, as in the paper; or ``head``, a small layer
            on the backbone's state where the answer would begin.
        residual: Whether the mixer and the fusion add what enters them to what leaves them, and a head reads the fused
            vector and the state at the prompt's end beside the last state; not so in the paper.
        members: Adapters with first weights of their own that learn side by side and answer together, where
            `pseudo_tokens` is 0: a deep ensemble, which varies less from seed to seed.

    Examples:
        >>> Training(epochs=50).epochs, Training().seeds[0]
        (50, 1111)
    """

    epochs: Annotated[Whole, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[Whole, Field(ge=1)] = 16
    learning_rate: Annotated[float | Auto, PlainValidator(_learning_rate)] = 5e-4
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    adam_epsilon: Annotated[Number, Field(gt=0)] = 1e-4
    warm_up: Annotated[Number, Field(ge=0, le=1)] = 0.1
    patience: Annotated[Whole, Field(ge=1)] = 8
    clip_norm: Annotated[Number, Field(gt=0)] | None = None
    seeds: tuple[Whole, ...] = (1111, 2222, 3333, 4444, 5555)
    pseudo_tokens: Annotated[Whole, Field(ge=0, le=1024)] = 4
    acoustic_hidden: Annotated[Whole, Field(ge=1)] = 64
    visual_hidden: Annotated[Whole, Field(ge=1)] = 32
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    row_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    modality_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    feature_noise: Annotated[Number, Field(ge=0)] = 0.0
    time_mask: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    average: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    keep: Literal["best", "last"] = "best"
    decoding: Literal["greedy", "likeliest", "expected", "median"] = "greedy"
    class_weights: Literal["none", "balanced"] = "none"
    targets: Literal["label", "distribution"] = "label"
    defined_share: Annotated[bool, Field(strict=True)] = False
    model: Annotated[str, Field(strict=True)] = "mse-adapter"
    model_options: dict[str, Any] = Field(default_factory=dict)
    encoder: Literal["lstm", "attentive", "bilstm-attentive"] = "lstm"
    place: Literal["before-text", "behind-text", "before-answer"] = "before-text"
    pseudo_scale: Literal["free", "matched"] = "free"
    answer: Literal["spelled", "head"] = "spelled"
    residual: Annotated[bool, Field(strict=True)] = False
    members: Annotated[Whole, Field(ge=1, le=64)] = 1

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("at least one seed is needed")
        if len(set(seeds)) < len(seeds):
            raise ValueError("the same seed is there twice; each seed is one training")
        return seeds

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values. What came after `FIRST_SETTINGS` is left out where it is as it was before it came.

        So runs that were made before keep their digests. The model and its options are written together.
        """
        plain = self.model_dump(mode="json")
        defaults = Training().model_dump(mode="json")
        told = FIRST_SETTINGS | {name for name, value in plain.items() if value != defaults[name]}
        if told & {"model", "model_options"}:
            told |= {"model", "model_options"}
        return {name: value for name, value in plain.items() if name in told}


FIRST_SETTINGS = frozenset(
    {
        *("epochs", "batch_size", "learning_rate", "weight_decay", "adam_epsilon", "warm_up", "patience", "clip_norm"),
        *("seeds", "pseudo_tokens", "acoustic_hidden", "visual_hidden", "dropout", "decoding", "class_weights"),
    }
)
"""What `Training.to_dict` always writes. A setting that is added later does not belong here."""


class Recipe(Section):
    """A validated pipeline file.

    Attributes:
        version: Of the file's format.
        name: Of the dataset in the cache.
        corpus: The reader of the raw folder and its options.
        media: How media are decoded.
        streams: Stream name, as in ``acoustic.egemaps`` -> options of its extractor.
        alignment: Own clocks, one grid, the words of one stream, or equal bins.
        task_section: `task` of the file; `task` gives it as the rest of the package uses it.
        prompt: How the backbone is asked.
        training: Settings for every backbone.
        backbones: Settings that differ for one backbone; see `training_for`.

    Examples:
        >>> recipe = Recipe.model_validate({"version": 1, "name": "mine", "corpus": {"name": "table"}})
        >>> recipe.training_for("tiny").batch_size, recipe.alignment.kind, recipe.task
        (16, 'none', None)
    """

    version: Literal[1]
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    corpus: CorpusSection
    media: MediaSection = MediaSection()
    streams: dict[StreamName, dict[str, Any]] = Field(default_factory=dict)
    alignment: Alignment = NoAlignment()
    task_section: Annotated[ClassificationSection | RegressionSection, Field(discriminator="kind")] | None = Field(
        default=None, alias="task"
    )
    prompt: PromptSection = PromptSection()
    training: Training = Training()
    backbones: dict[str, Training] = Field(default_factory=dict)

    @field_validator("alignment")
    @classmethod
    def _words_are_a_stream(cls, alignment: Alignment, info: ValidationInfo) -> Alignment:
        streams = info.data.get("streams")
        if isinstance(alignment, WordsAlignment) and streams is not None and alignment.stream not in streams:
            there = ", ".join(streams) or "none"
            raise ValueError(f"its stream {alignment.stream} is none of this recipe's; there are {there}")
        return alignment

    @model_validator(mode="before")
    @classmethod
    def _hear_texts(cls, plain: Any) -> Any:
        """Add the stream that texts come from."""
        corpus = plain.get("corpus") if isinstance(plain, Mapping) else None
        if not isinstance(corpus, Mapping) or corpus.get("text") is None:
            return plain
        streams = plain.get("streams") or {}
        if not isinstance(streams, Mapping) or any(_extractor(*stream) == ASR for stream in streams.items()):
            return plain
        return {**plain, "streams": {**streams, ASR: {}}}

    @property
    def transcripts(self) -> str | None:
        """The stream that texts come from; None where the corpus has them."""
        if self.corpus.text is None:
            return None
        return next(name for name, options in self.streams.items() if _extractor(name, options) == ASR)

    @property
    def task(self) -> Task | None:
        """What is to be predicted; None where the corpus tells it."""
        section = self.task_section
        if section is None:
            return None
        if isinstance(section, RegressionSection):
            return Regression(section.low, section.high, metrics=section.metrics)
        return Classification(section.classes, metrics=section.metrics)

    def training_for(self, backbone: str) -> Training:
        """Settings for one backbone: those of `training`, changed by what `backbones` says of it.

        A key of `backbones` holds for every backbone whose name begins with it, whatever the case, the
        punctuation and the folders before the name: ``llama2`` holds for ``meta-llama/Llama-2-7b-hf``. Of several
        such keys the longest holds.

        Args:
            backbone: Short name, hub name or folder of the backbone.
        """
        matching = [key for key in self.backbones if names_backbone(key, backbone)]
        if not matching:
            return self.training
        # Only what the file says of this backbone counts, not the defaults of what it leaves out.
        changes = self.backbones[max(matching, key=len)].model_dump(exclude_unset=True)
        return self.training.model_copy(update=changes)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values, defaults written out; `Recipe.model_validate` reads it back."""
        plain = self.model_dump(mode="json", by_alias=True)
        plain["training"] = self.training.to_dict()
        plain["prompt"] = self.prompt.to_dict()
        if plain["corpus"]["text"] is None:
            del plain["corpus"]["text"]  # recipes that were written before it keep their digests
        if plain["task"] is not None and not plain["task"]["metrics"]:
            del plain["task"]["metrics"]  # recipes that were written before it keep their digests
        plain["backbones"] = {
            name: changes.model_dump(mode="json", exclude_unset=True) for name, changes in self.backbones.items()
        }
        return plain

    def digest(self) -> str:
        """SHA-256 (hex) over all that the recipe says: equal digests, equal recipes."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _extractor(stream: Any, options: Any) -> Any:
    """The extractor that a stream is made by."""
    return options.get("extractor", stream) if isinstance(options, Mapping) else stream


def names_backbone(key: str, backbone: str) -> bool:
    """Whether a key of ``backbones`` holds for a backbone, see `Recipe.training_for`.

    Examples:
        >>> names_backbone("llama2", "meta-llama/Llama-2-7b-hf"), names_backbone("llama2", "tiny")
        (True, False)
    """
    return _plain(re.split(r"[/\\]", backbone.rstrip("/\\"))[-1]).startswith(_plain(key))


def _plain(name: str) -> str:
    """The name's letters and digits in lower case."""
    return re.sub(r"[\W_]+", "", name.lower())
