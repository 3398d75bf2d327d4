"""eGeMAPS of the sound, faces by MTCNN and their FaceNet embeddings of some clips, one NPZ file a clip.

    python benchmarks/scripts/features.py OUT WEIGHTS CLIP...    # - for no weights and no embeddings

As an experienced user would write it: one decode a clip, frames picked by their time at 5 a second, MTCNN on batches of
frames reduced to 480 pixels, the followed face cut from the full frame, its embeddings in batches, one instance of
openSMILE, models loaded once, one thread.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import opensmile
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from PIL import Image

RATE, WIDTH, BATCH = 5.0, 480, 16


def read(clip: Path) -> tuple[np.ndarray, list[av.VideoFrame]]:
    """Sound as mono of 16 kHz, and the frames that are shown at the middle of each fifth of a second."""
    resampler = av.AudioResampler("flt", "mono", 16_000)
    sound, frames = [], []
    with av.open(str(clip)) as container:
        streams = [container.streams.audio[0], container.streams.video[0]]
        for stream in streams:
            stream.codec_context.thread_count = 1
        start = None
        for packet in container.demux(streams):
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    sound += [part.to_ndarray()[0] for part in resampler.resample(frame)]
                    continue
                start = frame.time if start is None else start
                last = 1 / float(packet.stream.average_rate)
                middle = (np.ceil((frame.time - start) * RATE - 0.5) + 0.5) / RATE
                if middle < frame.time - start + last:
                    frames.append(frame)
    sound += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(sound), frames


def reduced(frame: av.VideoFrame) -> np.ndarray:
    width = min(WIDTH, frame.width)
    small = frame.reformat(width, round(frame.height * width / frame.width), format="rgb24", interpolation="AREA")
    return small.to_ndarray()


def follow(boxes: list[np.ndarray | None], probabilities: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """In each frame the face that overlaps the one before most, at first the largest."""
    followed: list[np.ndarray | None] = []
    last = None
    for found, sure in zip(boxes, probabilities, strict=True):
        kept = np.zeros((0, 4)) if found is None else np.asarray(found, float)[np.asarray(sure, float) >= 0.9]
        if not len(kept):
            followed.append(None)
            continue
        if last is None:
            best = int(np.argmax(np.prod(kept[:, 2:] - kept[:, :2], 1)))
        else:
            low, high = np.maximum(kept[:, :2], last[:2]), np.minimum(kept[:, 2:], last[2:])
            best = int(np.argmax(np.prod(np.clip(high - low, 0, None), 1)))
        last = kept[best]
        followed.append(last)
    return followed


class Maker:
    """The features of a clip, with models that are loaded once.

    Args:
        weights: Of InceptionResnetV1, "-" for no embeddings.
    """

    def __init__(self, weights: str) -> None:
        torch.set_num_threads(1)
        self.smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
        self.mtcnn = MTCNN(keep_all=True, min_face_size=40)
        self.network = None
        if weights != "-":
            self.network = InceptionResnetV1(classify=False).eval()
            self.network.load_state_dict(torch.load(weights, weights_only=True))

    def __call__(self, clip: Path) -> dict[str, np.ndarray]:
        sound, frames = read(clip)
        egemaps = self.smile.process_signal(sound, 16_000).to_numpy()
        small = [reduced(frame) for frame in frames]
        boxes: list[np.ndarray | None] = []
        probabilities: list[np.ndarray | None] = []
        with torch.inference_mode():
            for k in range(0, len(small), BATCH):
                found, sure = self.mtcnn.detect(np.stack(small[k : k + BATCH]))
                boxes += list(found)
                probabilities += list(sure)
        followed = follow(boxes, probabilities)
        crops = []
        for frame, box in zip(frames, followed, strict=True):
            if box is not None:
                full = Image.fromarray(frame.to_ndarray(format="rgb24"))
                crop = full.crop(tuple(box * (frame.width / min(WIDTH, frame.width)))).resize((160, 160))
                crops.append(np.asarray(crop))
        faces = np.zeros((0, 512), np.float32)
        if crops and self.network is not None:
            with torch.inference_mode():
                pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
                faces = self.network((pixels - 127.5) / 128).numpy()
        place = np.array([np.full(4, np.nan) if box is None else box for box in followed])
        return {"egemaps": egemaps, "boxes": place, "faces": faces}


def main() -> None:
    out, weights, clips = Path(sys.argv[1]), sys.argv[2], [Path(clip) for clip in sys.argv[3:]]
    make = Maker(weights)
    for clip in clips:
        np.savez(out / f"{clip.stem}.npz", **make(clip))


if __name__ == "__main__":
    main()
