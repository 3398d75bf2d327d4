"""Detector: finds the faces in consecutive frames by MTCNN; `yunet` does it by YuNet.

MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks")
searches some frames in full and follows faces through the frames between. `search` runs its cascade of three networks
over a batch of frames; each network takes the candidates of all frames at once. Networks run on their device; pictures
are cut and boxes compared on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mse_pipeline.extractors.visual.networks import SIDES, Networks, load_networks
from mse_pipeline.extractors.visual.tracking import affinity

REVISION = 2
"""Raised whenever MTCNN finds other boxes in the same frames with the same weights."""

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
        """Scales of the pyramid's levels; empty if the frame is smaller than the smallest face.

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
class DetectedFaces:
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


def search(networks: Networks, frames: np.ndarray, how: Search) -> DetectedFaces:
    """All faces of some frames.

    Args:
        networks: MTCNN's.
        frames: (N, H, W, 3) uint8.
        how: Sizes and thresholds.
    """
    boxes, index = _propose(networks, frames, how)
    boxes, index, cut = _pictures(frames, boxes, index, "rnet")
    if len(cut):
        shifts, probabilities = networks.run("rnet", cut)
        scores = probabilities[:, 1]
        passed = scores > how.thresholds[1]
        boxes, index, scores, shifts = boxes[passed], index[passed], scores[passed], shifts[passed]
        kept = strongest(boxes, scores, index, 0.7)
        boxes, index = squares(_shifted(boxes[kept], shifts[kept])), index[kept]
    return refine(networks, frames, boxes, index, how.thresholds[2])


def refine(
    networks: Networks, frames: np.ndarray, boxes: np.ndarray, index: np.ndarray, threshold: float
) -> DetectedFaces:
    """The candidates that are faces by O-Net, with their exact boxes; each face once.

    Args:
        networks: MTCNN's.
        frames: (N, H, W, 3) uint8.
        boxes: (K, 4) square candidates in pixels.
        index: (K,) which frame each is in.
        threshold: Probability from which a candidate passes.
    """
    boxes, index, cut = _pictures(frames, np.asarray(boxes, np.float32), np.asarray(index, np.int64), "onet")
    if not len(cut):
        return DetectedFaces(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    shifts, marks, probabilities = networks.run("onet", cut)
    scores = probabilities[:, 1]
    passed = scores > threshold
    boxes, index, scores, shifts, marks = (x[passed] for x in (boxes, index, scores, shifts, marks))
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    # O-Net gives the five x first and then the five y, as shares of the candidate.
    landmarks = marks.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None] + boxes[:, None, :2] - 1
    exact = _shifted(boxes, shifts)
    kept = _apart(exact, scores, index)
    return DetectedFaces(index[kept], *(x[kept].astype(np.float64) for x in (exact, scores, landmarks)))


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
    return _pictures(frames, squares(boxes), index, "onet")[2]


def _propose(networks: Networks, frames: np.ndarray, how: Search) -> tuple[np.ndarray, np.ndarray]:
    """Square candidates of P-Net on all levels of the pyramid, and which frame each is in."""
    found: list[tuple[np.ndarray, ...]] = []
    height, width = frames.shape[1:3]
    images = [_image(frame) for frame in frames]
    for level, scale in enumerate(how.levels(height, width)):
        size = int(height * scale + 1), int(width * scale + 1)
        maps, probabilities = networks.run("pnet", np.stack([_resized(image, *size) for image in images]))
        frame, row, column = (probabilities[:, 1] >= how.thresholds[0]).nonzero()
        corner = np.stack([column, row], 1).astype(np.float32) * _STRIDE + 1
        ends = np.floor(corner / np.float32(scale)), np.floor((corner + SIDES["pnet"] - 1) / np.float32(scale))
        score, shift = probabilities[frame, 1, row, column], maps[frame, :, row, column]
        found.append((np.concatenate(ends, 1), score, shift, frame, np.full_like(frame, level)))
    if not found:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    box, score, shift, frame, of_level = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = strongest(box, score, frame * len(found) + of_level, 0.5)
    box, score, shift, frame = box[kept], score[kept], shift[kept], frame[kept]
    kept = strongest(box, score, frame, 0.7)
    box, shift, frame = box[kept], shift[kept], frame[kept]
    return squares(box + shift * np.tile(box[:, 2:] - box[:, :2], 2)), frame


def strongest(boxes: np.ndarray, scores: np.ndarray, group: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes that no more probable box of their group overlaps, the most probable first.

    Args:
        boxes: (K, 4) x1, y1, x2, y2.
        scores: (K,) probabilities.
        group: (K,) numbers.
        overlap: The most that two boxes may share, as intersection over union.

    Examples:
        >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 10.0, 10.0], [8.0, 0.0, 18.0, 10.0]])
        >>> strongest(boxes, np.array([0.8, 0.9, 0.7]), np.zeros(3, int), 0.5).tolist()
        [1, 2]
    """
    kept: list[int] = []
    order = np.argsort(-scores, kind="stable")
    for number in np.unique(group):
        own = order[group[order] == number]
        left = np.ones(len(own), bool)
        for first in range(0, len(own), _ROWS):
            for k, apart in enumerate(_shared(boxes[own[first : first + _ROWS]], boxes[own]) <= overlap, first):
                if left[k]:
                    left[k + 1 :] &= apart[k + 1 :]
        kept += own[left].tolist()
    chosen = np.array(kept, np.int64)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


_ROWS = 256
"""Boxes that are compared with all others at once: a frame may have thousands of candidates."""


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each box with each other, (K, 4) and (N, 4) to (K, N)."""
    width, height = (
        np.maximum(np.minimum(boxes[:, None, k + 2], others[:, k + 2]) - np.maximum(boxes[:, None, k], others[:, k]), 0)
        for k in (0, 1)
    )
    one, other = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (boxes, others))
    shared = width * height
    return np.asarray(shared / np.maximum(one[:, None] + other - shared, np.float32(1e-9)))


def _pictures(
    frames: np.ndarray, boxes: np.ndarray, index: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The candidates that have any pixel in their frame, with their pictures (K, side, side, 3) uint8."""
    from PIL.Image import Resampling, new

    height, width = frames.shape[1:3]
    side = SIDES[name]
    corners = np.trunc(boxes).astype(np.int64)
    # The networks count pixels from 1, as in their training.
    low, high = np.maximum(corners[:, :2], 1) - 1, np.minimum(corners[:, 2:], [width, height])
    inside = (high > low).all(1)
    boxes, index = boxes[inside], index[inside]
    places = np.concatenate([low, high], 1)[inside].tolist()
    images = {k: _image(frames[k]) for k in np.unique(index).tolist()}
    # All go into one image: each one's way out of Pillow takes half as long as its resizing.
    cut = new("RGB", (side, side * len(boxes)))
    for row, (k, place) in enumerate(zip(index.tolist(), places, strict=True)):
        cut.paste(images[k].crop(place).resize((side, side), Resampling.BILINEAR), (0, side * row))
    return boxes, index, np.array(cut).reshape(len(boxes), side, side, 3)


def _image(picture: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(picture))


def _resized(image: Any, height: int, width: int) -> np.ndarray:
    """An image at another size; where it shrinks, every pixel counts."""
    from PIL.Image import Resampling

    return np.asarray(image.resize((width, height), Resampling.BILINEAR))


def _shifted(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Boxes corrected by shares of their sides."""
    return boxes + shifts * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _apart(boxes: np.ndarray, scores: np.ndarray, index: np.ndarray) -> list[int]:
    """Of candidates that lie nearly inside each other, the most probable; frame by frame."""
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    for k in np.argsort(-scores, kind="stable"):
        others = [other for other in kept if index[other] == index[k]]
        low, high = np.maximum(boxes[others, :2], boxes[k, :2]), np.minimum(boxes[others, 2:], boxes[k, 2:])
        shared = np.clip(high - low + 1, 0, None).prod(1)
        if not (shared > 0.7 * np.minimum(areas[others], areas[k])).any():
            kept.append(int(k))
    return kept


MOST_FACES = 5
"""Faces kept of one frame, the largest."""

MIN_STAY = 0.4
"""Intersection over union with a face's box in the frame before. Below it the face counts as lost."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Faces of one frame, the largest first.

    Attributes:
        boxes: (N, 4) float64, x1, y1, x2, y2 in pixels of the frame.
        probabilities: (N,) float64.
        landmarks: (N, 5, 2) float64, x and y in pixels of the frame: left eye, right eye, nose, left and right
            corner of the mouth, left and right as the picture shows them.
    """

    boxes: np.ndarray
    probabilities: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


class FaceDetector(Protocol):
    """Finds the faces of one clip's frames, batch by batch."""

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Find the faces of the next frames, (N, H, W, 3) uint8 RGB."""


class Detector:
    """Finds the faces of one clip's frames by MTCNN, batch by batch.

    Every `every`-th frame is searched in full. In a frame between, each face is looked for where it was one frame
    before: O-Net, the last of MTCNN's networks, gets its box and says whether a face is there, and where exactly. If a
    face is lost or jumps, as after a cut, or if there was none, the frame is searched in full too.

    Args:
        how: Sizes and thresholds.
        min_probability: Less probable faces are left out.
        every: Frames from one full search to the next; 1 searches all frames in full.
        device: Torch device.
    """

    def __init__(self, how: Search, min_probability: float, every: int = 1, device: str = "cpu") -> None:
        self._how, self._min_probability, self._every = how, min_probability, every
        self._networks = load_networks(device)
        self._seen = 0
        self._last: tuple[tuple[int, ...], Detections] | None = None
        self.searched = 0

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Find the faces of the next frames.

        Args:
            frames: (N, H, W, 3) uint8, RGB.

        Returns:
            N detections.
        """
        found: dict[int, Detections] = {}
        if self._last is not None and self._last[0] == frames.shape[1:]:
            found[-1] = self._last[1]
        due = [k for k in range(len(frames)) if (self._seen + k) % self._every == 0 or (k == 0 and -1 not in found)]
        self._search(frames, due, found)
        # All frames with a known predecessor are done together, so that the networks get whole batches.
        while waiting := [k for k in range(len(frames)) if k not in found]:
            self._follow(frames, [k for k in waiting if k - 1 in found], found)
        self._seen += len(frames)
        if len(frames):
            self._last = frames.shape[1:], found[len(frames) - 1]
        return [found[k] for k in range(len(frames))]

    def _search(self, frames: np.ndarray, chosen: Sequence[int], found: dict[int, Detections]) -> None:
        """Search some frames in full."""
        if chosen:
            self.searched += len(chosen)
            faces = search(self._networks, frames[list(chosen)], self._how)
            found.update({k: self._kept(faces, place, frames.shape) for place, k in enumerate(chosen)})

    def _follow(self, frames: np.ndarray, chosen: Sequence[int], found: dict[int, Detections]) -> None:
        """Look for the faces of the frames before; a frame that has lost one is searched in full."""
        before = [found[k - 1].boxes for k in chosen]
        index = np.repeat(np.arange(len(chosen)), [len(boxes) for boxes in before])
        boxes = squares(np.concatenate(before)) if len(index) else np.zeros((0, 4))
        faces = refine(self._networks, frames[list(chosen)], boxes, index, self._how.thresholds[2])
        lost = []
        for place, k in enumerate(chosen):
            now = self._kept(faces, place, frames.shape)
            if _stayed(before[place], now.boxes):
                found[k] = now
            else:
                lost.append(k)
        self._search(frames, lost, found)

    def _kept(self, faces: DetectedFaces, frame: int, shape: tuple[int, ...]) -> Detections:
        """The largest probable faces of a frame."""
        own = faces.frame == frame
        detections = Detections(faces.boxes[own], faces.probabilities[own], faces.landmarks[own])
        return largest(detections, shape[1:], self._min_probability)


def largest(faces: Detections, shape: Sequence[int], min_probability: float, min_size: float = 2.0) -> Detections:
    """The largest probable faces of a frame, cut at its borders.

    Args:
        faces: All faces of the frame, in any order.
        shape: Height and width of the frame.
        min_probability: Less probable faces are left out.
        min_size: Faces with a shorter side, in pixels, are left out.
    """
    boxes = np.clip(faces.boxes, 0.0, np.array([shape[1], shape[0]] * 2, np.float64))
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = np.flatnonzero((faces.probabilities >= min_probability) & (sides >= min_size).all(1))
    order = keep[np.argsort(-sides[keep].prod(1), kind="stable")][:MOST_FACES]
    return Detections(boxes[order], faces.probabilities[order], faces.landmarks[order])


def _stayed(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether all faces of one frame are there in the next, each near where it was."""
    if not len(before) or len(now) < len(before):
        return False
    return bool((affinity(before, now).max(1) >= MIN_STAY).all())
