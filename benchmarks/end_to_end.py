"""All features of a clip, beside only decoding it: acoustic.egemaps, visual.mtcnn and visual.facenet, one thread.

Only decoding is every frame and all of the sound through the same PyAV, nothing converted and nothing kept.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import av

from benchmarks.clips import Clips
from benchmarks.timing import Ratio, in_turn
from benchmarks.visual import RATE, random_weights
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceSession
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch


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

    torch.set_num_threads(1)
    extraction = Extraction(random_weights(scratch / "random.pt"))
    first = next(iter(kinds.values()))[0]
    extraction(first), only_decode(first)
    rows, everything = [], Counter[str]()
    rounds = 3
    for kind, clips in kinds.items():
        extraction.spent.clear()
        bare, full, *_ = in_turn(
            lambda clips=clips: [only_decode(clip) for clip in clips],  # type: ignore[misc]
            lambda clips=clips: [extraction(clip) for clip in clips],  # type: ignore[misc]
            rounds=rounds,
            clock=time.process_time,
            warm=False,
        )
        rows.append((kind, bare, full, Counter({stage: s / rounds for stage, s in extraction.spent.items()})))
        everything.update(rows[-1][3])
    if len(rows) > 1:
        rows.append(("all clips", sum(row[1] for row in rows), sum(row[2] for row in rows), everything))
    ratios = []
    for kind, bare, full, spent in rows:
        split = ", ".join(f"{stage} {seconds / sum(spent.values()):.0%}" for stage, seconds in spent.most_common())
        words = f"{full / bare:.1f} times only decoding: {split}"
        details = {"times_decoding": full / bare, "seconds_by_stage": dict(spent)}
        ratios.append(Ratio(f"end to end beside only decoding, {kind}", bare, full, words, details))
    return ratios
