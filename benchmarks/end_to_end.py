"""All features of a clip beside those of an expert's script, which makes the same in batches
(`benchmarks.scripts.features`), and beside only decoding it; one thread, models loaded.

Measured are the default streams, acoustic.egemaps and visual.mtcnn, and these with visual.facenet. Faces are found by
MTCNN, as in the script; where the models' folder has their weights, also by YuNet, with SFace to know people behind
cuts, which the script does not do. Only decoding is every frame and all of the sound through the same PyAV, nothing
converted and nothing kept. `benchmarks.jobs` measures the same from the start of a process to its end.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av

from benchmarks.clips import Clips
from benchmarks.timing import Ratio
from benchmarks.visual import RATE, random_weights
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceSession
from mse_pipeline.extractors.visual.weights import SFACE, YUNET, is_here
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch

_ROUNDS = 3
_MTCNN = {"detector": "mtcnn", "identity": "none"}


def only_decode(clip: Path) -> None:
    with av.open(str(clip)) as container:
        streams = [stream for stream in container.streams if stream.type in {"audio", "video"}]
        for stream in streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux(*streams):
            packet.decode()


class Extraction:
    """What an extraction does with a clip, its stages timed.

    Args:
        weights: Of FaceNet; None for the default streams alone.
        device: Torch device.
        clock: What tells the seconds.
        options: How faces are found.

    Attributes:
        spent: Seconds by stage, summed over clips.
    """

    def __init__(
        self,
        weights: Path | None,
        device: str = "cpu",
        clock: object = time.process_time,
        options: Mapping[str, str] = _MTCNN,
    ) -> None:
        self.clock = clock
        self.device = device
        self.egemaps, self.mtcnn = create("acoustic.egemaps"), create("visual.mtcnn", dict(options))
        self.facenet = weights and create("visual.facenet", {"weights": str(weights), **options})
        for extractor in filter(None, (self.egemaps, self.mtcnn, self.facenet)):
            extractor.load(device)
        self.spent: Counter[str] = Counter()

    def __call__(self, clip: Path) -> None:
        session = FaceSession(self.mtcnn.face, self.device)

        def add(batch: FrameBatch) -> None:
            self._timed("detection", session.add, batch)

        begun, before = self.clock(), self.spent["detection"]  # type: ignore[operator]
        decoded = decode(clip, frames=[FrameRequest(RATE, add)])
        self.spent["decoding"] += self.clock() - begun - (self.spent["detection"] - before)  # type: ignore[operator]
        faces = self._timed("detection", session.finish)
        if decoded.audio is not None:
            self._timed("egemaps", self.egemaps, decoded.audio)
        if faces.valid.any():
            self._timed("mtcnn", self.mtcnn, faces)
            if self.facenet:
                self._timed("facenet", self.facenet, faces)

    def _timed(self, stage, call, *arguments):  # type: ignore[no-untyped-def]
        begun = self.clock()  # type: ignore[operator]
        result = call(*arguments)
        self.spent[stage] += self.clock() - begun  # type: ignore[operator]
        return result


def run(kinds: Clips, scratch: Path) -> list[Ratio]:
    import torch

    from benchmarks.scripts.features import Maker

    torch.set_num_threads(1)
    weights = random_weights(scratch / "random.pt")
    ways = {"MTCNN": _MTCNN}
    if is_here(YUNET) and is_here(SFACE):
        ways["YuNet and SFace"] = {"detector": "yunet", "identity": "sface"}
    ratios = []
    for streams, given in (("default streams", None), ("default streams and FaceNet", weights)):
        script = Maker("-" if given is None else str(given))
        ours = {way: Extraction(given, options=options) for way, options in ways.items()}
        first = next(iter(kinds.values()))[0]
        for each in (only_decode, script, *ours.values()):
            each(first)  # type: ignore[operator]
        measured = [(kind, *_measure(clips, script, ours)) for kind, clips in kinds.items()]
        for way in ways:
            rows = [(kind, bare, theirs, *mine[way]) for kind, bare, theirs, mine in measured]
            whole = sum((row[4] for row in rows), Counter[str]())
            rows.append(("all clips", *(sum(row[k] for row in rows) for k in (1, 2, 3)), whole))  # type: ignore[misc]
            ratios += [_ratio(f"{streams}, {way}", *row) for row in rows]
    return ratios


def _measure(
    clips: Sequence[Path], script: Callable[[Path], object], ours: Mapping[str, Extraction]
) -> tuple[float, float, dict[str, tuple[float, Counter[str]]]]:
    """Seconds of only decoding, of the script, and by way of ours with its stages; the medians of rounds in turn."""
    every: dict[str, Callable[[Path], object]] = {"decoding": only_decode, "script": script, **ours}
    for extraction in ours.values():
        extraction.spent.clear()
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(_ROUNDS):
        for name, way in every.items():
            begun = time.process_time()
            for clip in clips:
                way(clip)
            seconds[name].append(time.process_time() - begun)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    spent = {way: Counter({k: s / _ROUNDS for k, s in extraction.spent.items()}) for way, extraction in ours.items()}
    return middle["decoding"], middle["script"], {way: (middle[way], spent[way]) for way in ours}


def _ratio(what: str, kind: str, bare: float, script: float, full: float, spent: Counter[str]) -> Ratio:
    split = ", ".join(f"{stage} {seconds / sum(spent.values()):.0%}" for stage, seconds in spent.most_common())
    words = f"{full / script:.2f} of the script, {full / bare:.1f} times only decoding: {split}"
    details = {"of_script": full / script, "times_decoding": full / bare, "decoding_seconds": bare}
    details |= {"seconds_by_stage": dict(spent)}
    return Ratio(f"{what}: {kind}", script, full, words, details)
