"""Visual features of the same frames: ours, beside the way that the documentation of facenet-pytorch shows.

Straightforward: each frame as a full-size PIL picture, `MTCNN(keep_all=True).detect` on it with its defaults, and
InceptionResnetV1 in float32 on the followed face, one by one. Which face is followed is decided by the same rule.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clips import Clips
from benchmarks.timing import Ratio, in_turn
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceSession
from mse_pipeline.extractors.visual.tracking import choose, link
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch

RATE = 5.0


@dataclass
class Seen:
    """What a way found in one clip: boxes relative to the frame (NaN without a face), crops, embeddings."""

    boxes: np.ndarray
    crops: np.ndarray
    embeddings: np.ndarray


def random_weights(path: Path) -> Path:
    """InceptionResnetV1's weights drawn by chance from a seed."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    torch.save(InceptionResnetV1(classify=False).state_dict(), path)
    return path


def separating_weights(path: Path, crops: np.ndarray) -> Path:
    """The same with normalisation learned from some pictures, so that different faces lie apart as they should."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    network = InceptionResnetV1(classify=False)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(standardised(crops))
    torch.save(network.state_dict(), path)
    return path


def standardised(crops: np.ndarray) -> Any:
    import torch

    return (torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() - 127.5) / 128


def network_of(weights: Path) -> Any:
    import torch
    from facenet_pytorch import InceptionResnetV1

    network = InceptionResnetV1(classify=False)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


class Straightforward:
    """Frame by frame and face by face."""

    def __init__(self, weights: Path) -> None:
        from facenet_pytorch import MTCNN

        self.detector = MTCNN(keep_all=True, device="cpu")
        self.network = network_of(weights)

    def __call__(self, clip: Path) -> Seen:
        import torch
        from facenet_pytorch import extract_face
        from PIL import Image

        pictures: list[Image.Image] = []

        def keep(batch: FrameBatch) -> None:
            pictures.extend(Image.fromarray(frame.pixels) for frame in batch.frames)

        decode(clip, audio=False, frames=[FrameRequest(RATE, keep)])
        found = []
        for picture in pictures:
            boxes, probabilities = self.detector.detect(picture)
            if boxes is None:
                boxes, probabilities = np.zeros((0, 4)), np.zeros(0)
            found.append(np.asarray(boxes, float)[np.asarray(probabilities, float) >= 0.9])
        sizes = [np.array([picture.width, picture.height] * 2) for picture in pictures]
        relative = [np.clip(boxes / size, 0, 1) for boxes, size in zip(found, sizes, strict=True)]
        seen = nothing(len(pictures))
        tracks = link(relative, np.arange(len(pictures)) / RATE)
        for number in choose(tracks):
            for k, pick in zip(tracks[number].frames, tracks[number].picks, strict=True):
                crop = extract_face(pictures[k], found[k][pick], 160)
                with torch.inference_mode():
                    seen.embeddings[k] = self.network(((crop - 127.5) / 128)[None])[0].numpy()
                seen.boxes[k], seen.crops[k] = relative[k][pick], crop.permute(1, 2, 0).numpy().astype(np.uint8)
        return seen


class Ours:
    """As an extraction does it, with the extractors' defaults."""

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self.device = device
        self.facenet = create("visual.facenet", {"weights": str(weights)})
        self.facenet.load(device)

    def __call__(self, clip: Path) -> Seen:
        session = FaceSession(FaceConfig(rate=RATE, detector="mtcnn", identity="none"), self.device)
        decode(clip, audio=False, frames=[FrameRequest(RATE, session.add)])
        faces = session.finish()
        seen = nothing(len(faces))
        if faces.valid.any():
            seen.boxes[faces.valid], seen.crops = faces.boxes[faces.valid], faces.crops
            seen.embeddings = self.facenet(faces).values
        return seen


def nothing(count: int) -> Seen:
    return Seen(
        np.full((count, 4), np.nan), np.zeros((count, 160, 160, 3), np.uint8), np.zeros((count, 512), np.float32)
    )


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, row by row."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def agreement(theirs: Sequence[Seen], mine: Sequence[Seen], apart: Any = None) -> dict[str, float]:
    """How near the results are, over the frames where the straightforward way has a face.

    Args:
        theirs: Of the straightforward way, by clip.
        mine: Ours.
        apart: A network whose embeddings are compared too.
    """
    import torch

    boxes = [np.concatenate([seen.boxes for seen in way]) for way in (theirs, mine)]
    crops = [np.concatenate([seen.crops for seen in way]) for way in (theirs, mine)]
    embeddings = [np.concatenate([seen.embeddings for seen in way]) for way in (theirs, mine)]
    there = np.isfinite(boxes[0][:, 0])
    both = there & np.isfinite(boxes[1][:, 0])
    shares = overlap(boxes[0][both], boxes[1][both])
    pixels = [
        np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]
        for a, b in zip(crops[0][both], crops[1][both], strict=True)
    ]
    told = {
        "frames": int(there.sum()),
        "missed": int((there & ~both).sum()),
        "median_iou": float(np.median(shares)),
        "share_over_0.75": float((shares > 0.75).sum() / there.sum()),
        "median_cosine": float(np.median((embeddings[0] * embeddings[1])[both].sum(1))),
        "median_crop_correlation": float(np.median(pixels)),
    }
    if apart is not None:
        with torch.inference_mode():
            one, other = (
                torch.cat([apart(standardised(part)) for part in np.array_split(c[both], max(both.sum() // 16, 1))])
                for c in crops
            )
        told["median_cosine_separating"] = float((one * other).sum(1).median())
    return told


def run(kinds: Clips, scratch: Path) -> list[Ratio]:
    import torch

    torch.set_num_threads(1)
    weights = random_weights(scratch / "random.pt")
    slow, fast = Straightforward(weights), Ours(weights)
    results: dict[str, tuple[list[Seen], list[Seen]]] = {}
    seconds: dict[str, tuple[float, float]] = {}
    first = next(iter(kinds.values()))[0]
    slow(first), fast(first)
    for kind, clips in kinds.items():
        one, other, theirs, mine = in_turn(
            lambda clips=clips: [slow(clip) for clip in clips],  # type: ignore[misc]
            lambda clips=clips: [fast(clip) for clip in clips],  # type: ignore[misc]
            clock=time.process_time,
            warm=False,
        )
        results[kind], seconds[kind] = (theirs, mine), (one, other)
    everything = tuple([seen for pair in results.values() for seen in pair[way]] for way in (0, 1))
    crops = np.concatenate([seen.crops[np.isfinite(seen.boxes[:, 0])][:2] for seen in everything[0]])[:32]
    apart = network_of(separating_weights(scratch / "separating.pt", crops))
    totals = tuple(sum(pair[way] for pair in seconds.values()) for way in (0, 1))
    rows = [(kind, *seconds[kind], *results[kind]) for kind in kinds]
    if len(rows) > 1:
        rows.append(("all clips", *totals, *everything))
    ratios = []
    for kind, one, other, theirs, mine in rows:
        told = agreement(theirs, mine, apart)
        words = (
            f"IoU {told['median_iou']:.2f} ({told['share_over_0.75']:.0%} > 0.75), cosine {told['median_cosine']:.3f}, "
            f"of separating weights {told['median_cosine_separating']:.3f}, "
            f"crops {told['median_crop_correlation']:.2f}, "
            f"{told['missed']} of {told['frames']} missed"
        )
        ratios.append(Ratio(f"faces and embeddings, {kind}", one, other, words, told))
    return ratios
