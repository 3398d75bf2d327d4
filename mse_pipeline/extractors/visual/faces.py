"""Faces: one face, followed through a clip's sampled frames, with the data that visual extractors need."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.visual.detector import (
    REVISION,
    Detections,
    Detector,
    FaceDetector,
    Search,
    patches,
)
from mse_pipeline.extractors.visual.networks import exports, load_networks, mtcnn_digest
from mse_pipeline.extractors.visual.onnx import Export
from mse_pipeline.extractors.visual.people import aligned, around, load_embedder, look, people, to_text
from mse_pipeline.extractors.visual.policy import MIN_AGREEMENT, Mouths, Policy, confidence, favourite, scores
from mse_pipeline.extractors.visual.tracking import Shots, Track, choose
from mse_pipeline.extractors.visual.weights import SFACE, YUNET, fetched, is_here, models_folder
from mse_pipeline.extractors.visual.yunet import YunetDetector, load_yunet
from mse_pipeline.extractors.visual.zoo import sface, yunet
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.effort import Decoding
from mse_pipeline.media.frames import Frame, FrameBatch
from mse_pipeline.store.candidates import NOTE as CANDIDATES

CROP = 160
"""Side of a crop in pixels, what InceptionResnetV1 takes."""

_LISTED = 20
"""The most tracks in the notes, the largest ones; a crowd has hundreds."""

_SEARCH = Search()
_MTCNN_LEAST = 0.9, 40
_YUNET_LEAST = 0.78, 16
"""Probability from which a face counts, and its smallest side in pixels, where the options leave it open."""

_OF_MTCNN = frozenset({"thresholds", "factor", "detect_every"})
"""Options that YuNet does not use."""

Config = TypeVar("Config", bound="FaceConfig")

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FaceConfig:
    """How faces are found and followed.

    Attributes:
        rate: Sampled frames a second.
        width: Width in pixels that frames are reduced to before detection; narrower frames stay as they are.
        detector: What finds faces: ``mtcnn``; ``yunet``, which also finds profiles and small faces and is quicker, and
            whose weights yunet.onnx are downloaded once; or ``auto``: YuNet where its weights are in the models'
            folder ($MSE_MODELS), else MTCNN.
        identity: What knows people again behind a cut: ``sface``, whose weights sface.onnx are downloaded once;
            ``none``, so that a face is known by its place alone; or ``auto``: SFace where its weights are in the
            models' folder, else none.
        min_face_size: Smallest face that is looked for, in pixels of the reduced frame; None for what suits the
            detector: 40 for MTCNN, 16 for YuNet.
        thresholds: MTCNN's thresholds of its three networks.
        factor: MTCNN's ratio of one level of the image pyramid to the next.
        min_probability: Faces less probable than that count as none; None for what suits the detector: 0.9 for MTCNN,
            0.78 for YuNet.
        detect_every: With MTCNN, frames are searched in full every so many, and between faces are looked for where
            they were; 1 searches all of them. YuNet always does.
        policy: Which person is followed: the ``largest`` (summed area of its boxes), the ``longest`` (time that it is
            seen), the most ``central`` (summed nearness to the frame's middle), or the one that is ``speaking``
            (agreement of its mouth with the sound; where no mouth moves in time with it the one that moves most while
            there is a voice, and where none does or there is no sound the largest, which the notes then say), or the
            clip's ``speaker``, whose name the corpus tells: at the end of the extraction `speakers` finds out whose
            face is whose, and until then features hold rows of all faces (`mse_pipeline.store.candidates`); the largest
            where no speaker is named or people are not known by their looks.
        decoding: How much of each frame is decoded: ``full``; ``fast``, for less CPU and slightly other pixels: without
            the codec's loop filter, and frames of half the size where the codec has them and they are still `width`
            wide; ``key_frames``: so and only the key frames, each shown until the next, for a `rate` of a row a second
            or less.
    """

    rate: Annotated[float, Field(gt=0.0, le=120.0)] = 5.0
    width: Annotated[int, Field(ge=64, le=8192)] = 480
    detector: Literal["auto", "mtcnn", "yunet"] = "auto"
    identity: Literal["auto", "sface", "none"] = "auto"
    min_face_size: Annotated[int, Field(ge=12, le=4096)] | None = None
    thresholds: tuple[Probability, Probability, Probability] = _SEARCH.thresholds
    factor: Annotated[float, Field(gt=0.1, lt=1.0)] = _SEARCH.factor
    min_probability: Probability | None = None
    detect_every: Annotated[int, Field(ge=1, le=1000)] = 5
    policy: Policy = "largest"
    decoding: Literal["full", "fast", "key_frames"] = "full"

    @field_validator("decoding")
    @classmethod
    def _of_moving_mouths(cls, decoding: str, info: ValidationInfo) -> str:
        if decoding == "key_frames" and info.data.get("policy") == "speaking":
            raise ValueError("the policy speaking looks at how mouths move, which key frames do not show; use fast")
        return decoding

    @property
    def decoded(self) -> Decoding:
        """How much of the video is decoded."""
        return Decoding.of(self.decoding, self.width)

    def settled(self: Config) -> Config:
        """The same with all open options decided by the weights on this machine.

        Options that the detector does not use become their defaults, since they change no value.
        """
        yunet = is_here(YUNET) if self.detector == "auto" else self.detector == "yunet"
        sface = is_here(SFACE) if self.identity == "auto" else self.identity == "sface"
        least, size = _YUNET_LEAST if yunet else _MTCNN_LEAST
        unused: Any = {f.name: f.default for f in dataclasses.fields(FaceConfig) if yunet and f.name in _OF_MTCNN}
        return dataclasses.replace(
            self,
            detector="yunet" if yunet else "mtcnn",
            identity="sface" if sface else "none",
            min_face_size=size if self.min_face_size is None else self.min_face_size,
            min_probability=least if self.min_probability is None else self.min_probability,
            **unused,
        )

    def make_detector(self, device: str = "cpu") -> FaceDetector:
        """The detector of one clip's frames, for settled options."""
        size, least = int(self.min_face_size or 0), float(self.min_probability or 0.0)
        if self.detector == "yunet":
            return YunetDetector(size, least)
        return Detector(Search(size, self.thresholds, self.factor), least, self.detect_every, device)

    def load(self, device: str = "cpu") -> None:
        """Load the networks that find and recognise faces, for settled options; missing weights are downloaded.

        Raises:
            MseError: Weights are missing and cannot be downloaded, or damaged.
        """
        if self.detector == "yunet":
            load_yunet()
        else:
            load_networks(device)
        if self.identity == "sface":
            load_embedder()

    def exports(self) -> tuple[Export, ...]:
        """The networks that find and recognise faces, as ONNX files, for settled options."""
        return (
            *((yunet(),) if self.detector == "yunet" else exports()),
            *((sface(),) if self.identity == "sface" else ()),
        )

    def weights_digest(self) -> str:
        """Digest of the weights that find and recognise faces, for settled options; nothing is downloaded for it.

        Raises:
            MseError: Weights in the models' folder are damaged.
        """
        used = [*([YUNET] if self.detector == "yunet" else []), *([SFACE] if self.identity == "sface" else [])]
        for released in used:
            if is_here(released):
                fetched(released)
        of_mtcnn = [] if self.detector == "yunet" else [mtcnn_digest(), f"search {REVISION}"]
        digests = [*of_mtcnn, *(released.sha256 for released in used)]
        if len(digests) == 1:
            return digests[0]
        return hashlib.blake2b(" ".join(digests).encode(), digest_size=16).hexdigest()

    def missing(self) -> tuple[str, ...]:
        """Names of the weights in the models' folder that would have to be downloaded, for settled options."""
        used = [*([YUNET] if self.detector == "yunet" else []), *([SFACE] if self.identity == "sface" else [])]
        return tuple(released.file for released in used if not is_here(released))

    def instead(self) -> tuple[str, ...]:
        """Sentences that say what is done instead, if the best weights are missing; for open options."""
        folder = models_folder()
        sentences = []
        if self.detector == "auto" and not is_here(YUNET):
            sentences.append(
                f"MTCNN finds the faces, because {YUNET.file} is not in {folder}: it misses profiles and small faces. "
                "Use the option `detector: yunet` to download the file once, or `detector: mtcnn` to keep MTCNN."
            )
        if self.identity == "auto" and not is_here(SFACE):
            sentences.append(
                f"A face is followed only by its position and lost at a cut, because {SFACE.file} is not in {folder}. "
                "Use the option `identity: sface` to download the file once, or `identity: none` to keep it so."
            )
        return tuple(sentences)


class FaceMeasure(Protocol):
    """What is measured of every face while frames pass, where a picture of each would take too much memory."""

    @property
    def key(self) -> str:
        """Names it among the measures of a session; equal keys mean equal values."""

    @property
    def width(self) -> int:
        """Number of values a face."""

    def __call__(self, frame: Frame, boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Measure the faces of a frame.

        Args:
            frame: The full-size frame.
            boxes: (N, 4) x1, y1, x2, y2 in its pixels.
            landmarks: (N, 5, 2) in its pixels, in the order of `Faces.landmarks`.

        Returns:
            (N, width) float32, NaN where a value is not defined.
        """


@plain_dataclass(frozen=True, eq=False)
class Faces:
    """The face that was followed, one row a sampled frame; rows without a face are zero and not valid.

    With the policy ``speaker``, behind these rows, which are then all without a face, stand the rows of all tracks, one
    track after the other. Whoever makes features of them must make each row of itself and of earlier rows of its track.

    Attributes:
        intervals: (T, 2) float64, seconds from the clip's start.
        valid: (T,) bool.
        boxes: (T, 4) float64, x1, y1, x2, y2 relative to the frame's width and height, in [0, 1].
        probabilities: (T,) float64, the detector's.
        landmarks: (T, 5, 2) float64, x and y relative to the box: left eye, right eye, nose, left and right corner
            of the mouth, left and right as the picture shows them.
        patches: (T, 48, 48, 3) uint8, the box made square, from the reduced frame.
        crops: (T, 160, 160, 3) uint8, the box stretched to a square, from the full-size frame.
        track: (T,) int64, number of the track among the notes' tracks; -1 where there is no face.
        notes: The choice that was made, plain JSON: ``policy``, where it failed ``fallback``, and ``tracks``, each
            with its number ``track``, ``from``, ``to``, ``frames``, ``score``, ``chosen``, and ``boxes`` as lists of
            row, x1, y1, x2, y2; where people are known again also ``person`` and the mean ``probability``, and
            ``identity``, which `people.from_text` reads, where it was needed to tell who is who: of all with the
            policy ``speaker``, else of tracks that were compared.
        aspect: (T,) width of each row's frame by its height, or one number for all, without which there is no angle in
            relative coordinates; a file may change its shape.
        measured: By the key of a measure (T, width) float32, NaN in rows without a face.
    """

    intervals: np.ndarray
    valid: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray
    landmarks: np.ndarray
    patches: np.ndarray
    crops: np.ndarray
    track: np.ndarray
    notes: Mapping[str, Any] = field(default_factory=dict)
    aspect: np.ndarray | float = 1.0
    measured: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.valid)


class FaceSession:
    """Finds the faces of one clip: `add` its frames batch by batch, then `finish`.

    Of each frame only the faces' small pictures are kept. The policy ``speaking`` also wants frames at `mouths.rate`
    by `mouths.add`.

    Args:
        config: How faces are found.
        device: Torch device of the detector.
        measures: What is measured of every face while frames pass.
        pictures: Whether patches and crops are kept; without them those of `Faces` are black.
    """

    def __init__(
        self,
        config: FaceConfig,
        device: str = "cpu",
        *,
        measures: Sequence[FaceMeasure] = (),
        pictures: bool = True,
    ) -> None:
        self._config = config = config.settled()
        self._device = str(device)
        self._measures = {measure.key: measure for measure in measures}
        self._pictures = pictures
        self._detector: FaceDetector | None = None
        self._shots = Shots()
        self._intervals: list[np.ndarray] = []
        self._frames: list[FrameFaces] = []
        self.mouths = Mouths(config.width) if config.policy == "speaking" else None

    def add(self, batch: FrameBatch) -> None:
        """Find the faces of some more frames."""
        config = self._config
        if self._detector is None:
            self._detector = config.make_detector(self._device)
        self._intervals.append(batch.intervals)
        reduced = batch.reduced(config.width)
        self._shots.add(reduced)
        detections = self._detector(reduced)
        index = np.repeat(np.arange(len(detections)), [len(faces) for faces in detections])
        boxes = np.concatenate([faces.boxes for faces in detections])
        small = patches(reduced, boxes, index) if self._pictures else None
        for k, frame in enumerate(batch.frames):
            known = config.identity != "none"
            own = None if small is None else small[index == k]
            size, measures = reduced.shape[1:3], self._measures
            self._frames.append(FrameFaces(frame, size, detections[k], own, known, measures=measures))
            if self.mouths is not None:
                self.mouths.seen(
                    batch.intervals[k], detections[k].landmarks / np.array([reduced.shape[2], reduced.shape[1]])
                )

    def finish(self, audio: Audio | None = None, face: int | None = None) -> Faces:
        """Follow one person through all frames that were added.

        Args:
            audio: The clip's sound, for the policy ``speaking``.
            face: Number of the track to follow, with all others of that person; None to choose by the policy.

        Raises:
            ClipError: `no_face`: there is no track of that number.
        """
        intervals = np.concatenate(self._intervals) if self._intervals else np.zeros((0, 2))
        config = self._config
        tracks = people(
            self._frames, intervals, self._shots, float(config.min_probability or 0.0), config.identity != "none"
        )
        if face is not None and not 0 <= face < len(tracks):
            raise ClipError(
                "no_face", f"The face {face} was asked for, but {len(tracks)} faces were found, counted from 0."
            )
        notes, first = self._decide(tracks, intervals, audio, face)
        chosen = choose(tracks, first)
        listed = sorted({*range(min(len(tracks), _LISTED)), *chosen})
        followed = listed if self._config.policy == "speaker" else chosen
        if self._config.policy == "speaker" and config.identity != "none":
            for number in listed:
                look(tracks[number], self._frames)
        rows = [
            (index, pick, n) for n in followed for index, pick in zip(tracks[n].frames, tracks[n].picks, strict=True)
        ]
        places = [index for index, _, _ in rows]
        if self._config.policy == "speaker":
            notes[CANDIDATES] = len(intervals)
            intervals = np.concatenate([intervals, intervals[places]])
            places = list(range(notes[CANDIDATES], len(intervals)))
        count = len(intervals)
        aspect = np.ones(count)
        faces = Faces(
            intervals=intervals,
            valid=np.zeros(count, bool),
            boxes=np.zeros((count, 4)),
            probabilities=np.zeros(count),
            landmarks=np.zeros((count, 5, 2)),
            patches=self._blank(count, 48),
            crops=self._blank(count, CROP),
            track=np.full(count, -1, np.int64),
            notes={**notes, **self._track_notes(tracks, notes.pop("scores"), chosen, listed, intervals)},
            aspect=aspect,
            measured={
                key: np.full((count, measure.width), np.nan, np.float32) for key, measure in self._measures.items()
            },
        )
        for place, (index, pick, number) in zip(places, rows, strict=True):
            frame = self._frames[index]
            faces.valid[place] = True
            faces.boxes[place] = frame.boxes[pick]
            faces.probabilities[place] = frame.probabilities[pick]
            faces.landmarks[place] = frame.landmarks[pick]
            aspect[place] = frame.aspect
            if frame.patches is not None:
                faces.patches[place] = frame.patches[pick]
                faces.crops[place] = frame.crop(pick)
            for key, values in frame.measured.items():
                faces.measured[key][place] = values[pick]
            faces.track[place] = number
        return faces

    def _blank(self, count: int, side: int) -> np.ndarray:
        """Black pictures; where none are kept, one that stands for all."""
        shape = (count, side, side, 3)
        return np.zeros(shape, np.uint8) if self._pictures else np.broadcast_to(np.uint8(0), shape)

    def _decide(
        self, tracks: list[Track], intervals: np.ndarray, audio: Audio | None, face: int | None
    ) -> tuple[dict[str, Any], int]:
        """What the notes tell of the choice, and a track of the person who is followed."""
        policy, boxes = self._config.policy, [frame.boxes for frame in self._frames]
        notes: dict[str, Any] = {"policy": policy}
        agreements, activities = ([], []) if self.mouths is None else self.mouths.agreements(tracks, audio)
        ranking: Policy = policy
        if policy == "speaker":
            notes["fallback"] = "largest: not compared with other clips"
        by_policy = rank = scores(policy, tracks, boxes, intervals, agreements)
        if policy == "speaking" and max(by_policy, default=-1.0) <= MIN_AGREEMENT:
            if max(activities, default=0.0) > 0.0:
                rank = activities
                notes["fallback"] = "the mouth that moves most while there is a voice: none moves in time with it"
            else:
                ranking = "largest"
                reason = "no mouth moves with the sound" if audio is not None else "no sound"
                notes["fallback"] = f"largest: {reason}"
                rank = scores(ranking, tracks, boxes, intervals, agreements)
        if policy == "speaking":
            notes["confidence"] = confidence(tracks, by_policy, activities)
        notes |= {"detector": self._config.detector, "identity": self._config.identity}
        if face is not None:
            notes["asked_for"] = face
            return {**notes, "scores": by_policy}, face
        return {**notes, "scores": by_policy}, favourite(ranking, tracks, rank) if tracks else 0

    def _track_notes(
        self, tracks: list[Track], ranks: list[float], chosen: list[int], listed: list[int], intervals: np.ndarray
    ) -> dict[str, Any]:
        """The notes' tracks, as plain JSON: those of the largest faces and those that are followed."""
        return {
            "tracks_found": len(tracks),
            "tracks": [
                {
                    "track": number,
                    "from": round(float(intervals[tracks[number].frames[0], 0]), 3),
                    "to": round(float(intervals[tracks[number].frames[-1], 1]), 3),
                    "score": round(ranks[number], 4),
                    "frames": len(tracks[number]),
                    "chosen": number in chosen,
                    **(_who(tracks[number]) if self._config.identity != "none" else {}),
                    "boxes": [
                        [index, *np.round(self._frames[index].boxes[pick], 3).tolist()]
                        for index, pick in zip(tracks[number].frames, tracks[number].picks, strict=True)
                    ],
                }
                for number in listed
            ],
        }


def _who(track: Track) -> dict[str, Any]:
    """What the notes say about a track if people are recognised."""
    identity = {} if track.identity is None else {"identity": to_text(track.identity)}
    return {"person": track.person, "probability": round(track.score, 3), **identity}


class FrameFaces:
    """The faces of one frame, with their small pictures.

    Attributes:
        boxes: (N, 4) float64, relative to the frame, the largest first.
        probabilities: (N,) float64.
        landmarks: (N, 5, 2) float64, relative to the box.
        aspect: Width of the frame by its height.
        patches: (N, 48, 48, 3) uint8, the box made square, from the reduced frame; None where no pictures are kept.
        measured: By the key of a measure (N, width) float32.
        aligned: (N, 112, 112, 3) uint8, as `people.PersonEmbedder` expects them; None if people are not recognised.

    Args:
        frame: The full-size frame.
        size: Height and width of the frame as the detector saw it.
        found: The detector's faces in it.
        patches: The faces' patches; None to keep no pictures.
        known: Whether people are recognised.
        measures: What is measured of each face, by key.
    """

    def __init__(
        self,
        frame: Frame,
        size: tuple[int, ...],
        found: Detections,
        patches: np.ndarray | None,
        known: bool = False,
        *,
        measures: Mapping[str, FaceMeasure] | None = None,
    ) -> None:
        self.boxes = found.boxes / np.array([size[1], size[0]] * 2, np.float64)
        self.probabilities = found.probabilities
        corners, sides = found.boxes[:, None, :2], found.boxes[:, 2:] - found.boxes[:, :2]
        self.landmarks = (found.landmarks - corners) / np.maximum(sides, 1e-6)[:, None]
        self.patches = patches
        self.aspect = frame.width / frame.height
        full = np.array([frame.width, frame.height, frame.width, frame.height], np.float64)
        self._crops = [] if patches is None else [region(frame, box, CROP) for box in self.boxes * full]
        marks = found.landmarks * (full[:2] / (size[1], size[0]))
        self.measured = {key: measure(frame, self.boxes * full, marks) for key, measure in (measures or {}).items()}
        self.aligned = np.stack([straight(frame, points) for points in marks]) if known and len(marks) else None

    def crop(self, pick: int) -> np.ndarray:
        """(160, 160, 3) uint8, one face's box from the full-size frame, stretched to a square."""
        return stretched(self._crops[pick], CROP)


def straight(frame: Frame, landmarks: np.ndarray) -> np.ndarray:
    """(112, 112, 3) uint8, a face aligned by its landmarks, (5, 2) pixels of the full-size frame."""
    x1, y1, x2, y2 = (int(value) for value in around(landmarks))
    x1, y1 = min(max(x1, 0), frame.width - 1), min(max(y1, 0), frame.height - 1)
    x2, y2 = max(min(x2 + 1, frame.width), x1 + 1), max(min(y2 + 1, frame.height), y1 + 1)
    return aligned(frame.region(x1, y1, x2, y2), landmarks - (x1, y1))


def region(frame: Frame, box: np.ndarray, side: int) -> np.ndarray:
    """A box's part of a frame, as far as it lies inside; stretched to a square if that takes less memory.

    Args:
        frame: The full-size frame.
        box: (4,) x1, y1, x2, y2 in pixels.
        side: Pixels of the square.

    Returns:
        (h, w, 3) uint8 of no more than `side` times `side` pixels.
    """
    x1, y1 = (int(max(value, 0)) for value in box[:2])
    x2, y2 = int(min(box[2], frame.width)), int(min(box[3], frame.height))
    x1, y1 = min(x1, frame.width - 1), min(y1, frame.height - 1)
    pixels = frame.region(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))
    return np.ascontiguousarray(pixels) if pixels[..., 0].size <= side * side else stretched(pixels, side)


def stretched(pixels: np.ndarray, side: int) -> np.ndarray:
    """Stretch a picture to a square, by the same filter as facenet-pytorch's `extract_face`.

    Args:
        pixels: (h, w, 3) uint8.
        side: Pixels of the square.

    Returns:
        (side, side, 3) uint8.
    """
    from PIL import Image

    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((side, side), Image.Resampling.BILINEAR))
