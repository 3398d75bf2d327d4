"""Cascade: MTCNN's search over a batch of frames, network by network, each over all frames' candidates at once.

Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks". Networks run
on their device; pictures are cut and boxes compared on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mse_pipeline.extractors.visual.light_import import nms
from mse_pipeline.extractors.visual.networks import SIDES, Networks

_STRIDE = 2
"""Pixels between two neighbouring windows of P-Net."""


@dataclass(frozen=True)
class Search:
    """How faces are searched.

    Attributes:
        min_face_size: Smallest face that is looked for, in pixels.
        thresholds: Probabilities from which a candidate passes each network.
        factor: Ratio of one level of the image pyramid to the next.
    """

    min_face_size: int = 40
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    factor: float = 0.709

    def levels(self, height: int, width: int) -> list[float]:
        """Scales of the pyramid's levels; none where the frame is smaller than any face that is looked for.

        Examples:
            >>> [round(level, 2) for level in Search().levels(120, 160)]
            [0.3, 0.21, 0.15, 0.11]
        """
        scale = SIDES["pnet"] / self.min_face_size
        levels = []
        while min(height, width) * scale >= SIDES["pnet"]:
            levels.append(scale)
            scale *= self.factor
        return levels


@dataclass(frozen=True, eq=False)
class Found:
    """Faces of some frames.

    Attributes:
        frame: (K,) int64, which frame each is in.
        boxes: (K, 4) float64, x1, y1, x2, y2 in pixels.
        probabilities: (K,) float64.
        landmarks: (K, 5, 2) float64, x and y in pixels.
    """

    frame: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray
    landmarks: np.ndarray


def search(networks: Networks, frames: np.ndarray, how: Search) -> Found:
    """All faces of some frames.

    Args:
        networks: MTCNN's.
        frames: (N, H, W, 3) uint8.
        how: Sizes and thresholds.
    """
    pictures = _tensor(frames)
    boxes, index = _propose(networks, pictures, how)
    boxes, index, cut = _pictures(pictures, boxes, index, "rnet")
    if len(cut):
        shifts, probabilities = networks.run("rnet", cut)
        scores = probabilities[:, 1]
        passed = scores > how.thresholds[1]
        boxes, index, scores, shifts = boxes[passed], index[passed], scores[passed], shifts[passed]
        kept = _strongest(boxes, scores, index, 0.7)
        boxes, index = _squares(_shifted(boxes[kept], shifts[kept])), index[kept]
    return refine(networks, pictures, boxes, index, how.thresholds[2])


def refine(networks: Networks, pictures: Any, boxes: Any, index: Any, threshold: float) -> Found:
    """What O-Net says of candidates: those that are faces, with their exact boxes, each face once.

    Args:
        networks: MTCNN's.
        pictures: (N, 3, H, W) uint8 tensor, or frames as for `search`.
        boxes: (K, 4) square candidates in pixels.
        index: (K,) which frame each is in.
        threshold: Probability from which a candidate passes.
    """
    import torch

    pictures = _tensor(pictures)
    boxes, index = torch.as_tensor(boxes, dtype=torch.float32), torch.as_tensor(index, dtype=torch.int64)
    boxes, index, cut = _pictures(pictures, boxes, index, "onet")
    if not len(cut):
        return Found(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    shifts, marks, probabilities = networks.run("onet", cut)
    scores = probabilities[:, 1]
    passed = scores > threshold
    boxes, index, scores, shifts, marks = (x[passed] for x in (boxes, index, scores, shifts, marks))
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    # O-Net gives the five x first and then the five y, as shares of the candidate.
    landmarks = marks.reshape(-1, 2, 5).transpose(1, 2) * sides[:, None] + boxes[:, None, :2] - 1
    exact = _shifted(boxes, shifts)
    kept = _apart(exact.numpy(), scores.numpy(), index.numpy())
    return Found(
        index.numpy()[kept],
        exact.numpy()[kept].astype(np.float64),
        scores.numpy()[kept].astype(np.float64),
        landmarks.numpy()[kept].astype(np.float64),
    )


def squares(boxes: np.ndarray) -> np.ndarray:
    """Boxes made square around their centres, by their longer sides, as O-Net takes them.

    Examples:
        >>> squares(np.array([[10.0, 0.0, 20.0, 40.0]])).tolist()
        [[-5.0, 0.0, 35.0, 40.0]]
    """
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.concatenate([centres - halves, centres + halves], 1)


def patches(frames: np.ndarray, boxes: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The pictures of faces that O-Net takes.

    Args:
        frames: (N, H, W, 3) uint8.
        boxes: (K, 4) in pixels; each is made square and must have a part inside its frame.
        index: (K,) which frame each is in.

    Returns:
        (K, 48, 48, 3) uint8.
    """
    import torch

    _, _, cut = _pictures(_tensor(frames), torch.from_numpy(squares(boxes)), torch.from_numpy(index), "onet")
    return np.ascontiguousarray(cut.permute(0, 2, 3, 1).numpy())


def _tensor(frames: Any) -> Any:
    import torch

    if isinstance(frames, torch.Tensor):
        return frames
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def _propose(networks: Networks, pictures: Any, how: Search) -> tuple[Any, Any]:
    """Square candidates of P-Net on all levels of the pyramid, and which frame each is in."""
    import torch

    boxes, scores, shifts, index, level_of = [], [], [], [], []
    height, width = pictures.shape[2:]
    for level, scale in enumerate(how.levels(height, width)):
        maps, probabilities = networks.run("pnet", _resized(pictures, int(height * scale + 1), int(width * scale + 1)))
        frame, row, column = (probabilities[:, 1] >= how.thresholds[0]).nonzero(as_tuple=True)
        corner = torch.stack([column, row], 1) * _STRIDE + 1
        boxes.append(torch.cat([(corner / scale).floor(), ((corner + SIDES["pnet"] - 1) / scale).floor()], 1))
        scores.append(probabilities[frame, 1, row, column])
        shifts.append(maps[frame, :, row, column])
        index.append(frame)
        level_of.append(torch.full_like(frame, level))
    if not boxes:
        return torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    one, score, shift, frame = torch.cat(boxes), torch.cat(scores), torch.cat(shifts), torch.cat(index)
    kept = _strongest(one, score, frame * len(boxes) + torch.cat(level_of), 0.5)
    one, score, shift, frame = one[kept], score[kept], shift[kept], frame[kept]
    kept = _strongest(one, score, frame, 0.7)
    one, shift, frame = one[kept], shift[kept], frame[kept]
    return _squares(one + shift * (one[:, 2:] - one[:, :2]).repeat(1, 2)), frame


def _strongest(boxes: Any, scores: Any, group: Any, overlap: float) -> Any:
    """Indices of the boxes that overlap with no more probable one of their group, the most probable first."""
    import torch

    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64)
    order = torch.argsort(group, stable=True)
    kept = torch.cat(
        [
            members[nms()(boxes[members], scores[members], overlap)]
            for members in order.split(torch.unique_consecutive(group[order], return_counts=True)[1].tolist())
        ]
    )
    return kept[torch.argsort(scores[kept], descending=True, stable=True)]


def _pictures(pictures: Any, boxes: Any, index: Any, name: str) -> tuple[Any, Any, Any]:
    """The candidates that have any pixel in their frame, with their pictures (K, 3, side, side) uint8."""
    import torch

    height, width = pictures.shape[2:]
    side = SIDES[name]
    corners = boxes.trunc().long()
    # The networks count pixels from 1, as the program did that they were trained with.
    low, high = corners[:, :2].clamp(min=1) - 1, corners[:, 2:].clamp(max=torch.tensor([width, height]))
    inside = (high > low).all(1)
    boxes, index = boxes[inside], index[inside]
    places = torch.cat([low, high], 1)[inside].tolist()
    cut = [
        _resized(pictures[k : k + 1, :, y1:y2, x1:x2], side, side)
        for k, (x1, y1, x2, y2) in zip(index.tolist(), places, strict=True)
    ]
    return boxes, index, torch.cat(cut) if cut else torch.zeros((0, 3, side, side), dtype=torch.uint8)


def _resized(pictures: Any, height: int, width: int) -> Any:
    """Pictures at another size; where they shrink, every pixel counts."""
    from torch.nn.functional import interpolate

    return interpolate(pictures, (height, width), mode="bilinear", antialias=True)


def _shifted(boxes: Any, shifts: Any) -> Any:
    """Boxes corrected by shares of their sides."""
    return boxes + shifts * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def _squares(boxes: Any) -> Any:
    import torch

    return torch.from_numpy(squares(boxes.numpy()))


def _apart(boxes: np.ndarray, scores: np.ndarray, index: np.ndarray) -> list[int]:
    """The most probable of candidates of which one lies nearly inside the other, frame by frame."""
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    for k in np.argsort(-scores, kind="stable"):
        others = [other for other in kept if index[other] == index[k]]
        low, high = np.maximum(boxes[others, :2], boxes[k, :2]), np.minimum(boxes[others, 2:], boxes[k, 2:])
        shared = np.clip(high - low + 1, 0, None).prod(1)
        if not (shared > 0.7 * np.minimum(areas[others], areas[k])).any():
            kept.append(int(k))
    return kept
