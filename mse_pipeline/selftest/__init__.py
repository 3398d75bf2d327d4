"""Self-test: the features of three short clips, compared with those that this version made where it was released.

Other processors and versions of libraries differ in the last bits, and a threshold may turn one of them into another
value. Each stream has a bound for that, far above what was measured on one processor with torch, oneDNN, OpenBLAS and
NumPy held to older instruction sets and with one and two threads: 4e-6 deviations at most, in `acoustic.vad`; ONNX
Runtime, which runs the networks of faces, cannot be held to one. What goes beyond is another library, another weight
file or a fault: features made here and elsewhere are then not to be mixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip, Split
from mse_pipeline.extraction.clip_run import ClipRun
from mse_pipeline.extraction.plan import StreamSpec, Task, Todo
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.registry import create
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.features import Features

CLIPS = ("joy", "anger", "sadness")
"""Clips of drawn people that `mse_pipeline.sample.build_clip` made. They lie beside this file: encoders differ."""


@dataclass(frozen=True)
class Bound:
    """How far values may be from the stored ones.

    Attributes:
        deviations: A value differs if it is farther off than so many standard deviations of its dimension.
        share: So many of a stream's values may differ.
    """

    deviations: float
    share: float


_CASCADE = {"detector": "mtcnn", "identity": "none"}  # weights that every installation has
STREAMS: Mapping[str, tuple[Mapping[str, Any], Bound]] = {
    "acoustic.egemaps": ({}, Bound(0.01, 0.01)),
    "acoustic.librosa": ({}, Bound(0.01, 0.01)),
    "acoustic.vad": ({}, Bound(0.01, 0.01)),
    "acoustic.quality": ({}, Bound(0.01, 0.0)),
    "visual.mtcnn": (_CASCADE, Bound(0.05, 0.02)),
    "visual.geometry": (_CASCADE, Bound(0.05, 0.02)),
    "visual.quality": (_CASCADE, Bound(0.05, 0.02)),
}
"""What is compared, with its options and bound. The streams that need a downloaded model are left out."""


@dataclass(frozen=True)
class Finding:
    """How one stream compares.

    Attributes:
        stream: As in ``acoustic.egemaps``.
        values: How many values were compared.
        differ: Share of them that differ by more than the bound's deviations.
        greatest: The greatest difference, in standard deviations of its dimension; infinite where one is not defined.
        where: Clip and dimension of that difference.
        bound: What may be.
        problem: Why there is nothing to compare, or what else differs, as sentences; empty where nothing is wrong.
    """

    stream: str
    values: int
    differ: float
    greatest: float
    where: str
    bound: Bound
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the stream is what it was where this version was released."""
        return self.differ <= self.bound.share and not self.problem

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ok": self.ok}


def compare() -> Iterator[Finding]:
    """Make the features of the clips anew, in this process and on the CPU, and compare them with the stored ones."""
    golden = _Golden.read()
    for stream, (options, bound) in STREAMS.items():
        spec = _spec(stream, options)
        made = _make(spec)
        failed = next((made_clip for made_clip in made.values() if isinstance(made_clip, str)), None)
        if failed is not None:
            yield Finding(stream, 0, 0.0, 0.0, "", bound, failed)
            continue
        features = {clip: one for clip, one in made.items() if isinstance(one, Features)}
        yield _compare(stream, features, golden, bound, _other_weights(spec, golden))


def record(folder: Path) -> None:
    """Store the features of the clips, as the next `compare` is to find them: where an extractor has a new revision.

    Args:
        folder: That of this file.
    """
    arrays: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {}
    for stream, (options, _) in STREAMS.items():
        spec = _spec(stream, options)
        for clip, features in _make(spec).items():
            if isinstance(features, str):
                raise ValueError(f"{stream} of {clip}: {features}")
            arrays |= {f"{stream}/{clip}/values": features.values, f"{stream}/{clip}/valid": features.valid}
            about[stream] = {"names": list(features.names), "model": spec.identity.get("model")}
    np.savez_compressed(folder / "golden.npz", **arrays)  # type: ignore[arg-type]
    (folder / "golden.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Golden:
    """What is stored: arrays by stream and clip, and of each stream its names and the digest of its weights."""

    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @classmethod
    def read(cls) -> _Golden:
        home = resources.files("mse_pipeline.selftest")
        with home.joinpath("golden.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return cls(arrays, json.loads(home.joinpath("golden.json").read_text(encoding="utf-8")))


def _spec(stream: str, options: Mapping[str, Any]) -> StreamSpec:
    recipe = Recipe.model_validate(
        {"version": 1, "name": "selftest", "corpus": {"name": "table"}, "streams": {stream: dict(options)}}
    )
    return stream_specs(recipe)[0]


def _make(spec: StreamSpec) -> dict[str, Features | str]:
    """A stream's features of each clip, or why there are none."""
    made: dict[str, Features | str] = {}
    extractors = {spec.stream: create(spec.stream, spec.options)}
    with resources.as_file(resources.files("mse_pipeline.selftest").joinpath("clips")) as folder:
        task = Task("selftest", Path(), folder, (spec,), max_seconds=None, device="cpu")
        for name in CLIPS:
            clip = Clip(id=name, split=Split.TEST, media=f"{name}.mp4")
            (row, features), *_ = ClipRun(Todo(clip, (spec.stream,)), task).make(extractors)
            made[name] = features if features is not None else f"{name}: {row.message or row.code}"
    return made


def _compare(stream: str, made: Mapping[str, Features], golden: _Golden, bound: Bound, problem: str) -> Finding:
    """Compare values; one that is defined on one side alone, and a row that is there on one side alone, differ."""
    names = tuple(golden.about[stream]["names"])
    stored = {
        clip: _values(golden.arrays[f"{stream}/{clip}/values"], golden.arrays[f"{stream}/{clip}/valid"])
        for clip in made
    }
    with np.errstate(all="ignore"):
        spread = np.nan_to_num(np.nanstd(np.concatenate(list(stored.values())), axis=0))
    count, differ, greatest, where = 0, 0, 0.0, ""
    for clip, features in made.items():
        if features.names != names:
            return Finding(
                stream,
                0,
                0.0,
                0.0,
                "",
                bound,
                f"Its dimensions are others: {len(features.names)} in place of {len(names)}.",
            )
        values = _values(features.values, features.valid)
        rows = max(len(values), len(stored[clip]))
        ours, theirs = (_filled(one, rows) for one in (values, stored[clip]))
        distance = np.abs(ours.astype(np.float64) - theirs) / np.where(spread > 1e-9, spread, 1.0)
        distance = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, np.where(np.isnan(distance), np.inf, distance))
        count += distance.size
        differ += int((distance > bound.deviations).sum())
        if distance.size and distance.max() > greatest:
            row, place = np.unravel_index(int(distance.argmax()), distance.shape)
            greatest, where = float(distance.max()), f"{names[int(place)]} of {clip}, row {row}"
    return Finding(stream, count, differ / max(1, count), greatest, where, bound, problem)


def _values(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid[:, None], values, np.float32(np.nan))


def _filled(values: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([values, np.full((rows - len(values), values.shape[1]), np.nan, np.float32)])


def _other_weights(spec: StreamSpec, golden: _Golden) -> str:
    ours, theirs = spec.identity.get("model"), golden.about[spec.stream]["model"]
    if ours == theirs:
        return ""
    package = "facenet-pytorch" if spec.options.get("detector") == "mtcnn" else "silero-vad"
    return (
        f"Its weights are others: their digest is {ours}, that of the released ones {theirs}. Install the package that "
        f"brings them anew: pip install --force-reinstall --no-deps {package}"
    )
