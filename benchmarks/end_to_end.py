"""All features of a clip, acoustic.egemaps, visual.mtcnn and visual.facenet, beside those of an expert's script, which
makes the same in batches (`benchmarks.scripts.features`), and beside only decoding it; one thread, models loaded.

Only decoding is every frame and all of the sound through the same PyAV, nothing converted and nothing kept.
`benchmarks.jobs` measures the same from the start of a process to its end.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from pathlib import Path

import av

from benchmarks.clips import Clips
from benchmarks.timing import Ratio
from benchmarks.visual import RATE, random_weights
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceSession
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch

_ROUNDS = 3


def only_decode(clip: Path) -> None:
    with av.open(str(clip)) as container:
        streams = [stream for stream in container.streams if stream.type in {"audio", "video"}]
        for stream in streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux(*streams):
            packet.decode()


class Extraction:
    """What an extraction does with a clip, its stages timed.

    Attributes:
        spent: Seconds by stage, summed over clips.
    """

    def __init__(self, weights: Path, device: str = "cpu", clock: object = time.process_time) -> None:
        self.clock = clock
        self.device = device
        self.egemaps, self.mtcnn = create("acoustic.egemaps"), create("visual.mtcnn")
        self.facenet = create("visual.facenet", {"weights": str(weights)})
        for extractor in (self.egemaps, self.mtcnn, self.facenet):
            extractor.load(device)
        self.spent: Counter[str] = Counter()

    def __call__(self, clip: Path) -> None:
        session = FaceSession(self.facenet.face, self.device)

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
    extraction, expert = Extraction(weights), Maker(str(weights))
    first = next(iter(kinds.values()))[0]
    extraction(first), expert(first), only_decode(first)
    rows, everything = [], Counter[str]()
    for kind, clips in kinds.items():
        extraction.spent.clear()
        seconds: dict[str, list[float]] = {"decode": [], "script": [], "ours": []}
        for _ in range(_ROUNDS):
            for name, way in (("decode", only_decode), ("script", expert), ("ours", extraction)):
                begun = time.process_time()
                for clip in clips:
                    way(clip)  # type: ignore[operator]
                seconds[name].append(time.process_time() - begun)
        bare, script, full = (statistics.median(taken) for taken in seconds.values())
        spent = Counter({stage: s / _ROUNDS for stage, s in extraction.spent.items()})
        rows.append((kind, bare, script, full, spent))
        everything.update(spent)
    if len(rows) > 1:
        rows.append(("all clips", *(sum(row[k] for row in rows) for k in (1, 2, 3)), everything))  # type: ignore[misc]
    ratios = []
    for kind, bare, script, full, spent in rows:
        split = ", ".join(f"{stage} {seconds / sum(spent.values()):.0%}" for stage, seconds in spent.most_common())
        words = f"{full / script:.2f} of the script, {full / bare:.1f} times only decoding: {split}"
        details = {"of_script": full / script, "times_decoding": full / bare, "decoding_seconds": bare}
        details |= {"seconds_by_stage": dict(spent)}
        ratios.append(Ratio(f"end to end beside an expert's script, {kind}", script, full, words, details))
    return ratios
