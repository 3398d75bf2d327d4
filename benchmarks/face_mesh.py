"""How steady the face mesh is, and whether its mouth moves with the voice: python -m benchmarks.face_mesh FOLDER...

Of each clip of the folders: share of its frames in which a face is followed, and share of these with a mesh; way of a
point from frame to frame, the median over points and frames, in eye distances, as seen and with the head's own motion
taken out; and how the openness of the mouth agrees with the loudness of the sound: Pearson's correlation over the
frames of both, each the mean of three frames; loudness is the root mean square within a frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.face_mesh import head_rotation
from mse_pipeline.extractors.visual.faces import FaceSession
from mse_pipeline.extractors.visual.mesh import POINTS
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.store.features import Features

_SUFFIXES = {".mp4", ".mpg", ".avi", ".mkv", ".mov", ".flv"}


def main() -> None:
    """Print a line a clip and one a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rate", type=float, default=25.0, help="frames a second")
    parser.add_argument("--detector", default="auto", help="auto, yunet or mtcnn")
    arguments = parser.parse_args()
    print(f"{'clip':28} {'frames':>6} {'face':>6} {'mesh':>6} {'jitter':>7} {'turned':>7} {'r(voice)':>8}")
    for folder in arguments.folders:
        rows = []
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES):
            row = measure(path, arguments.rate, arguments.detector)
            rows.append(row)
            show(path.name, row)
        show(f"{folder.name}: all, mean", np.nanmean(rows, axis=0))


def show(name: str, row: np.ndarray) -> None:
    """Print a line."""
    frames, faces, share, jitter, turned, agreement = row
    print(f"{name:28} {frames:6.0f} {faces:6.1%} {share:6.1%} {jitter:7.4f} {turned:7.4f} {agreement:8.2f}", flush=True)


def measure(path: Path, rate: float, detector: str) -> np.ndarray:
    """Frames, shares with a face and with a mesh, jitter as seen and without head motion, agreement with the voice."""
    extractor = create("visual.face_mesh", {"rate": rate, "points": True, "detector": detector})
    session = FaceSession(extractor.face, measures=extractor.measures, pictures=False)
    decoded = decode(path, frames=[FrameRequest(rate, session.add)])
    faces = session.finish()
    try:
        features = extractor(faces)
    except ClipError:  # no face, or none with a mesh
        return np.array([len(faces), faces.valid.mean(), 0.0, np.nan, np.nan, np.nan])
    scale = (faces.aspect, 1.0, faces.aspect)
    points = features.values[:, -3 * POINTS :].reshape(-1, POINTS, 3).astype(np.float64) * scale
    both = features.valid[1:] & features.valid[:-1] & (faces.track[1:] == faces.track[:-1])
    seen, turned = jitter(points, both), jitter(turned_to_front(points, features.valid), both)
    shares = faces.valid.mean(), features.valid.sum() / faces.valid.sum()
    return np.array([len(features), *shares, seen, turned, with_voice(features, decoded.audio)])


def turned_to_front(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each mesh without its head's turn and place."""
    turned = points.copy()
    for k in np.flatnonzero(valid):
        head = points[k] @ head_rotation(points[k])
        turned[k] = head - head[[33, 133, 362, 263, 168]].mean(0)
    return turned


def jitter(points: np.ndarray, both: np.ndarray) -> float:
    """Median way of a point of the face from frame to frame, in eye distances."""
    eyes = np.linalg.norm(points[1:, [362, 263]].mean(1) - points[1:, [33, 133]].mean(1), axis=1)
    way = np.linalg.norm(np.diff(points[:, :468, :2], axis=0), axis=2)
    return float(np.median(way[both] / eyes[both, None])) if both.any() else float("nan")


def with_voice(features: Features, audio: Audio | None) -> float:
    """Correlation of the mouth's openness with the sound's root mean square in the same frames."""
    if audio is None:
        return float("nan")
    bounds = (features.intervals * audio.rate).astype(int)
    bounds = bounds.clip(0, len(audio.samples))
    rms = np.array([np.sqrt(np.mean(audio.samples[a:b] ** 2)) if b > a else np.nan for a, b in bounds])
    mouth = features.values[:, list(features.names).index("mouth_open")]
    use = features.valid & np.isfinite(rms)
    smooth = np.ones(3) / 3
    pair = np.convolve(mouth[use], smooth, "valid"), np.convolve(rms[use], smooth, "valid")
    return float(np.corrcoef(*pair)[0, 1]) if use.sum() > 4 else float("nan")


if __name__ == "__main__":
    main()
