"""Real models on real data, beside the linear model of the same rows: `make real`.

    python -m benchmarks.real --models DIR [--only ravdess] [--seeds 1 2 3]

Each experiment builds its dataset through the package's own commands (`benchmarks.real_data`), trains through
`mse train`, and prints of each line seconds an epoch and peak memory. All of it goes into one dated table, Markdown
and JSON, in benchmarks/results. A line whose settings this version does not know is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import made_models, real_data
from mse_pipeline import report, store
from mse_pipeline.clip import Split
from mse_pipeline.recipe import Training

RESULTS = Path(__file__).parent / "results"
SHARED_MODELS = ("stories260K",)
"""Backbones of ../shared/models; the others are in the folder of the real models."""

OURS: dict[str, Any] = {
    **{"epochs": 15, "batch_size": 16, "learning_rate": 2e-3, "adam_epsilon": 1e-8, "clip_norm": 1.0, "keep": "last"},
    **{"encoder": "attentive", "answer": "head", "place": "before-answer", "residual": True},
    **{"pseudo_tokens": 0, "members": 4, "dropout": 0.2, "feature_noise": 0.3, "label_smoothing": 0.1},
    "average": 0.98,
}
"""What the recipe for new users says, chosen on actors and clips of the train and valid splits: the backbone reads the
texts alone, each once a training."""
PAPER: dict[str, Any] = {
    **{name: Training.model_fields[name].default for name in OURS},
    **{"epochs": 10, "batch_size": 16, "learning_rate": 2e-3, "dropout": 0.2, "patience": 10},
}
"""The paper's adapter on small datasets; its own epochs and rate are for ten thousand clips. All is named, since a
dataset that was extracted by the recipe for tables else trains by that."""
_READ: dict[str, Any] = {"pseudo_tokens": 1, "members": 1, "pseudo_scale": "matched"}
"""The backbone reads the streams, too."""
NUMBERS: dict[str, Any] = {**OURS, "decoding": "expected", "label_smoothing": 0.0}
ENCODERS = ("lstm", "attentive", "bilstm-attentive")
ANSWERS = ("spelled", "head")
MEMBERS = {"lstm": (4,), "attentive": (1, 4, 8), "bilstm-attentive": (4, 8)}
"""Encoder -> how many members its heads without pseudo tokens have."""


@dataclass(frozen=True)
class Line:
    """One training of an experiment.

    Attributes:
        name: In the table.
        backbone: Name of a real model; empty for a model that reads none.
        settings: Of the recipe's `training`.
        options: Further options of `mse train`.
        encoder: Of which kind, of `ENCODER_SIZES`, the random encoder of its model is; empty for none.
    """

    name: str
    backbone: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    encoder: str = ""


@dataclass(frozen=True)
class Experiment:
    """What is trained on one dataset.

    Attributes:
        dataset: Of `real_data.DATASETS`.
        lines: Trainings.
        numbers: The metrics of the table.
        baselines: Streams that the model linear reads, each a line; ``text`` is the clips' text.
    """

    dataset: str
    lines: tuple[Line, ...]
    numbers: tuple[str, ...]
    baselines: tuple[tuple[str, ...], ...]


def _ravdess() -> Iterator[Line]:
    """Each encoder with each answer, with all that stands beside them, and the paper's adapter as it is."""
    streams = {"audio + action units": (), "audio": ("--without", "visual")}
    for backbone, (heard, options) in itertools.product(("stories260K", "smollm2-135m"), streams.items()):
        for encoder, answer in itertools.product(ENCODERS, ANSWERS):
            settings = {**OURS, **_READ, "encoder": encoder, "answer": answer}
            # What is read before the pseudo tokens is half of a step's time, and answers that are scored or come from a
            # head need no list of them. Spelled ones take four times as long in float32.
            asked: tuple[str, ...] = ("--set", "prompt.task=The emotion is")
            asked += ("--dtype", "bfloat16") if answer == "spelled" else ()
            yield Line(f"{encoder}, {answer}, {heard}", backbone, settings, (*options, *asked))
            if answer == "head":
                for members in MEMBERS[encoder]:
                    alone = {**OURS, "encoder": encoder, "members": members}
                    told = f"{encoder}, head without pseudo tokens, {members} members, {heard}"
                    yield Line(told, backbone, alone, (*options, *asked))
        yield Line(f"paper's adapter, {heard}", backbone, PAPER, options)


DIRECT = ("lf-dnn", "tfn", "mult", "self-mm", "lfmim", "chfn-style")
"""Models that read no backbone, beside the linear one, which is the baseline of each experiment."""
ENCODED = {"mag-bert": "bert", "unimse-style": "t5", "unisa-finetune": "bart"}
"""Models around an encoder. There are no pretrained ones among the real models, so that small ones are drawn at random:
their rows tell what fusion learns from scratch, and nothing of what the papers' encoders bring."""
ENCODER_SIZES: dict[str, dict[str, int]] = {
    "bert": {"hidden_size": 64, "intermediate_size": 256, "max_position_embeddings": 256},
    "t5": {"d_model": 64, "d_ff": 256, "d_kv": 32, "num_layers": 4},
    "bart": {"d_model": 64, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "max_position_embeddings": 256},
}
"""Theirs; all else is as in `made_models.ARCHITECTURES`."""
SPEAKING: dict[str, dict[str, Any]] = {
    "text-only": {"bias": "none"},
    "text-only, trained bias": {"bias": "trained"},
    "prompt-tuning, 20 tokens": {"tokens": 20},
    "prefix-tuning, matched": {"budget": "matched"},
    "lora, matched": {"budget": "matched"},
    "lora, r 8": {"r": 8},
    "mse-adapter-lora": {"r": 8},
}
"""Models of the backbone, with their own settings; the adapter itself stands beside them. Virtual tokens with as many
parameters as the adapter would be 700 to 1,500, more than a text has by far."""


def _models(options: tuple[str, ...] = (), **settings: Any) -> Iterator[Line]:
    """All models, each with the same settings of the training."""
    for name in DIRECT:
        yield Line(name, "", {**settings, "learning_rate": 1e-3, "model": name}, options)
    for name, kind in ENCODED.items():
        given = {**settings, "learning_rate": 1e-3, "model": name}
        yield Line(f"{name}, small random encoder", "", given, options, kind)
    # A pass through the larger one takes a quarter of the time in bfloat16, and it learns in fewer epochs.
    larger: dict[str, Any] = {**settings, "epochs": 1}
    for backbone, shared, more in (("stories260K", settings, ()), ("smollm2-135m", larger, ("--dtype", "bfloat16"))):
        for name, own in SPEAKING.items():
            given = {**shared, "model": name.partition(",")[0], "model_options": own}
            yield Line(name, backbone, given, (*options, *more))
        yield Line("mse-adapter, paper", backbone, shared, (*options, *more))
        ours = {**OURS, "decoding": settings["decoding"], "label_smoothing": 0.0}
        yield Line("mse-adapter, recipe for tables", backbone, ours, options)
        with_lora = {**ours, "model": "mse-adapter-lora", "model_options": SPEAKING["mse-adapter-lora"]}
        yield Line("mse-adapter-lora, recipe for tables", backbone, with_lora, options)


_TEXT_ALONE = ("--without", "acoustic")
_RAVDESS_PROMPT = ("--set", "prompt.task=The emotion is")
_MOSI_PROMPT = ("--set", "prompt.task=The sentiment is", "--set", "prompt.case=auto")
"""Short, as each token of the prompt is read with each text; and MOSI's texts are in capitals."""
EXPERIMENTS: dict[str, Experiment] = {
    "ravdess": Experiment(
        "ravdess",
        tuple(_ravdess()),
        ("weight_F1", "acc"),
        (("acoustic.egemaps",), ("acoustic.egemaps", "visual.au")),
    ),
    "mosi": Experiment(
        "mosi",
        (
            Line("head, text", "smollm2-135m", {**NUMBERS, **_READ}, (*_TEXT_ALONE, *_MOSI_PROMPT)),
            Line("head, text + audio", "smollm2-135m", {**NUMBERS, **_READ}, _MOSI_PROMPT),
            Line("head without pseudo tokens, text", "smollm2-135m", NUMBERS, (*_TEXT_ALONE, *_MOSI_PROMPT)),
            Line("head without pseudo tokens, text + audio", "smollm2-135m", NUMBERS, _MOSI_PROMPT),
            Line(
                "paper's adapter, text",
                "smollm2-135m",
                {**PAPER, "epochs": 3},
                (*_TEXT_ALONE, *_MOSI_PROMPT, "--dtype", "bfloat16"),
            ),
        ),
        ("MAE", "Corr", "Has0_acc_2", "Non0_acc_2", "Mult_acc_7"),
        (("text",), ("acoustic.utterance",)),
    ),
    "meld": Experiment(
        "meld",
        tuple(
            Line(
                f"head, context {turns}",
                "smollm2-135m",
                {**OURS, "members": 1},
                ("--set", f"prompt.context={turns}", "--set", "prompt.task=The emotion is", "--dtype", "bfloat16"),
            )
            for turns in (0, 3)
        ),
        ("weight_F1", "acc"),
        (("text",),),
    ),
    "simsv2": Experiment(
        "simsv2",
        (Line("head, text", "gemma3-270m", {**NUMBERS, **_READ, "epochs": 6}, ("--set", "prompt.task=情感为")),),
        ("MAE", "Corr", "Mult_acc_2"),
        (("text",),),
    ),
    "models-ravdess": Experiment(
        "ravdess",
        tuple(_models(_RAVDESS_PROMPT, **PAPER, decoding="likeliest")),
        ("weight_F1", "acc"),
        (("acoustic.egemaps", "visual.au"),),
    ),
    "models-mosi": Experiment(
        "mosi",
        tuple(_models(_MOSI_PROMPT, **PAPER, decoding="expected")),
        ("MAE", "Corr", "Has0_acc_2", "Non0_acc_2", "Mult_acc_7"),
        (("text", "acoustic.utterance"),),
    ),
    "whisper": Experiment(
        "ravdess-whisper",
        (),
        ("weight_F1", "acc"),
        (("acoustic.transformers",),),
    ),
}
"""Every experiment; the settings are data, so that better ones are a change here."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        experiment: Its name.
        line: What was trained.
        backbone: With what; empty for a model that reads none.
        split: Which split the numbers are of.
        values: Metric -> its value a seed.
        epoch_seconds: Wall time of an epoch with its validation; None where nothing was trained.
        peak_gb: Largest resident memory of the training's process, in 10**9 bytes; None likewise.
        remark: Why there is no value, or what else is to be told.
    """

    experiment: str
    line: str
    backbone: str = ""
    split: str = "test"
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    epoch_seconds: float | None = None
    peak_gb: float | None = None
    remark: str = ""

    def cells(self, numbers: Sequence[str]) -> list[str]:
        """Mean and deviation of each number, time and memory."""
        told = [_mean(self.values.get(name, ())) for name in numbers]
        time_ = "" if self.epoch_seconds is None else f"{self.epoch_seconds:.0f} s"
        memory = "" if self.peak_gb is None else f"{self.peak_gb:.1f} GB"
        return [self.line, self.backbone, self.split, *told, time_, memory, self.remark]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


@dataclass(frozen=True)
class Places:
    """Where things lie: the folders of real models, of ../shared, and of what is built and trained."""

    models: Path
    shared: Path
    work: Path

    def backbone(self, name: str) -> Path:
        return (self.shared / "models" if name in SHARED_MODELS else self.models) / name

    def dataset(self, name: str) -> store.Dataset:
        if name == "ravdess-whisper":
            return real_data.ravdess_whisper(self.shared, self.work / name, self.models / "whisper-base")
        return real_data.DATASETS[name](self.shared, self.work / name)

    def encoder(self, kind: str, dataset: store.Dataset) -> Path:
        """A small random encoder that knows the words of the dataset's train split."""
        folder = self.work / "encoders" / dataset.name / kind
        if not (folder / "model.safetensors").is_file():  # written last
            texts = [clip.text.lower() for clip in dataset.clips if clip.split == Split.TRAIN]
            words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text)}
            made_models.small_encoder(folder, kind, (*made_models.MARKS, *sorted(words)), **ENCODER_SIZES[kind])
        return folder


def train(experiment: str, line: Line, dataset: store.Dataset, places: Places, seeds: Sequence[int]) -> Row:
    """Train a line with all its seeds, in a process of its own."""
    unknown = sorted(set(line.settings) - set(Training.model_fields))
    if unknown:
        return Row(experiment, line.name, line.backbone, remark=f"this version has no training.{unknown[0]}")
    given = dict(line.settings)
    if line.encoder:
        given["model_options"] = {"encoder": str(places.encoder(line.encoder, dataset).resolve())}
    told = {key: "null" if value is None else value for key, value in given.items()}
    settings = [word for key, value in told.items() for word in ("--set", f"training.{key}={value}")]
    runs = places.work / "runs" / experiment
    command = [sys.executable, "-m", "mse_pipeline.cli", "train", dataset.name, "--json", "--quiet"]
    command += ["--cache", str(dataset.path.parent), "--runs", str(runs)]
    command += ["--backbone", str(places.backbone(line.backbone))] if line.backbone else []
    command += [*line.options, *settings]
    command += [word for seed in seeds for word in ("--seed", str(seed))]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        printed, complained = out.read().decode(), err.read().decode()
    if process.returncode:
        return Row(experiment, line.name, line.backbone, remark=" ".join(complained.split())[-200:])
    results = json.loads(printed.strip().splitlines()[-1])["seeds"]
    split = "test" if results[0]["test"] else "valid"
    names = EXPERIMENTS[experiment].numbers
    values = {name: [one[split][name] for one in results if one[split].get(name) is not None] for name in names}
    seconds = statistics.mean(one["seconds"] / one["epochs"] for one in results)
    kilo = 1 if sys.platform == "darwin" else 1024
    return Row(experiment, line.name, line.backbone, split, values, seconds, used.ru_maxrss * kilo / 1e9)


def floor(streams: Sequence[str]) -> Line:
    """`mse train --model linear` on some streams alone; ``text`` is the clips' text."""
    options: list[str] = []
    for modality in ("acoustic", "visual"):
        names = [stream for stream in streams if stream.startswith(f"{modality}.")]
        options += [f"--{modality}", names[0]] if names else ["--without", modality]
    options += [] if "text" in streams else ["--without", "text"]
    return Line(f"linear, {' + '.join(streams)}", "", {"model": "linear"}, tuple(options))


def whisper_seconds(places: Places, clips: int = 10) -> Row:
    """CPU seconds that Whisper's encoder takes for a second of sound, on one thread."""
    import torch

    from mse_pipeline.extractors.acoustic.transformers import AcousticTransformers, AcousticTransformersConfig
    from mse_pipeline.media.decode import decode

    torch.set_num_threads(1)
    config = AcousticTransformersConfig(model=str(places.models / "whisper-base"), last=real_data.WHISPER_LAST)
    extractor = AcousticTransformers(config)
    extractor.load()
    sounds = [decode(path).audio for path in sorted((places.shared / "data/ravdess/wav").glob("*.flac"))[: clips + 1]]
    extractor(sounds[0])
    begun = time.process_time()
    for sound in sounds[1:]:
        extractor(sound)
    used = (time.process_time() - begun) / sum(sound.duration for sound in sounds[1:])
    return Row("whisper", "CPU seconds a second of sound", split="", remark=f"{used:.2f} ({clips} clips, one thread)")


def table(experiment: str, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of an experiment's table."""
    numbers = EXPERIMENTS[experiment].numbers
    header = ["", "backbone", "split", *numbers, "an epoch", "memory", "remark"]
    return header, [row.cells(numbers) for row in rows]


def write(rows: Sequence[Row], seeds: Sequence[int], folder: Path, runs: Path) -> Path:
    """Write dated tables, as Markdown and as JSON; returns the Markdown file.

    Behind the table of each experiment, with its baselines and memory, stands that of `mse report` on its runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [f"# Real models on real data, {day}", "", f"Mean and deviation over seeds {', '.join(map(str, seeds))}."]
    for experiment in dict.fromkeys(row.experiment for row in rows):
        header, cells = table(experiment, [row for row in rows if row.experiment == experiment])
        lines += ["", f"## {experiment}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells]
        if (runs / experiment).is_dir():
            split = next((row.split for row in rows if row.experiment == experiment and row.backbone), "test")
            lines += ["", report.to_markdown(report.build([runs / experiment], split)).replace("## ", "### ", 1)]
    path = folder / f"real-{day}.md"
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return path


def run(name: str, places: Places, seeds: Sequence[int], wanted: str, tell: Callable[[Row], None]) -> list[Row]:
    """All rows of an experiment, baselines first; of its trainings, those whose line and backbone hold `wanted`."""
    experiment = EXPERIMENTS[name]
    dataset = places.dataset(experiment.dataset)
    rows = []

    def add(row: Row) -> None:
        rows.append(row)
        tell(row)

    if name == "whisper":
        add(whisper_seconds(places))
        egemaps = places.dataset("ravdess")
        add(train(name, floor(("acoustic.egemaps",)), egemaps, places, seeds[:1]))
    for streams in experiment.baselines:
        add(train(name, floor(streams), dataset, places, seeds[:1]))
    for line in (one for one in experiment.lines if wanted in f"{one.name}, {one.backbone}"):
        add(train(name, line, dataset, places, seeds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__.splitlines()[0])
    models = os.environ.get("MSE_REAL_MODELS")
    parser.add_argument("--models", type=Path, default=models, required=models is None, help="folder of real models")
    parser.add_argument("--shared", type=Path, default=real_data.SHARED, help="folder of the real data")
    parser.add_argument("--work", type=Path, default=Path("data/real"), help="where datasets and runs are kept")
    parser.add_argument("--only", choices=sorted(EXPERIMENTS), action="append", help="this one; may be repeated")
    parser.add_argument("--lines", default="", help="trainings whose name, as in 'lstm, head, audio', holds this text")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    arguments = parser.parse_args()
    places = Places(arguments.models, arguments.shared, arguments.work)
    console = Console(width=160)
    rows: list[Row] = []
    for name in arguments.only or EXPERIMENTS:
        numbers = EXPERIMENTS[name].numbers
        console.print(f"{name}: {', '.join(numbers)}")

        def tell(row: Row, numbers: Sequence[str] = numbers) -> None:
            console.print("  " + "  ".join(row.cells(numbers)))

        found = run(name, places, arguments.seeds, arguments.lines, tell)
        rows += found
        header, cells = table(name, found)
        shown = Table(*header, title=name)
        for one in cells:
            shown.add_row(*one)
        console.print(shown)
    console.print(str(write(rows, arguments.seeds, arguments.results, arguments.work / "runs")))


if __name__ == "__main__":
    main()
