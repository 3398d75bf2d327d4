"""Released weights: a file of the user, one in the models' folder, or downloaded once with a checked digest."""

from __future__ import annotations

import functools
import hashlib
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.storage import aside

NAME = "20180402-114759-vggface2.pt"
URL = f"https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/{NAME}"
SHA256 = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
"""Digest of the released file of 111,898,327 bytes."""

_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/25f423d0e04c31a17254620e58febd7386da523b/models"


@dataclass(frozen=True)
class Released:
    """Weights that were published as one file.

    Attributes:
        file: Its name in the models' folder.
        url: Where it is published.
        sha256: Digest of its content.
        size: Size of the download, in words.
        used_by: The name for messages of the part that needs it.
        otherwise: What the user can do instead of the download.
    """

    file: str
    url: str
    sha256: str
    size: str
    used_by: str
    otherwise: str


YUNET = Released(
    "yunet.onnx",
    f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    "0.12 MB",
    "the face detector YuNet",
    "use the option `detector: mtcnn`, which needs no file",
)
"""YuNet (Wu et al. 2023), the int8 weights of OpenCV's model zoo; MIT."""

SFACE = Released(
    "sface.onnx",
    f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    "11 MB",
    "the face embedding SFace",
    "use the option `identity: none`, which recognises people only by their position",
)
"""SFace (Zhong et al. 2021), the int8 weights of OpenCV's model zoo; Apache-2.0."""

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_MOST_BYTES = 1 << 28


def models_folder() -> Path:
    """Where models are kept: `$MSE_MODELS`, else ``~/.cache/mse/models``."""
    folder = os.environ.get("MSE_MODELS")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "mse" / "models"


def find_weights(given: str | None) -> Path:
    """The weights' file.

    Args:
        given: Path of the user's own file; None for the released weights, which are downloaded if they are missing.

    Raises:
        UsageError: The given file does not exist.
        MseError: The released weights are damaged, or missing and cannot be downloaded.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise UsageError(
                f"The weights {path} of visual.facenet do not exist. Leave the option out to download {NAME}."
            )
        return path
    return fetched(_facenet())


def fetched(released: Released) -> Path:
    """Released weights in the models' folder; they are downloaded if they are missing.

    Raises:
        MseError: They are damaged, or missing and cannot be downloaded.
    """
    path = models_folder() / released.file
    if not path.is_file():
        _fetch(path, released)
    sha256 = file_sha256(path)
    if sha256 != released.sha256:
        raise MseError(
            f"{path} is damaged or another file: its SHA-256 is {sha256}, expected {released.sha256}. "
            f"Delete it, so that it is downloaded again, or {released.otherwise}."
        )
    return path


def is_here(released: Released) -> bool:
    """Whether released weights are in the models' folder, so that nothing must be downloaded."""
    return (models_folder() / released.file).is_file()


def _facenet() -> Released:
    otherwise = "give your own file as option `weights` of visual.facenet"
    return Released(NAME, URL, SHA256, "112 MB", "visual.facenet", otherwise)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; computed once for a file that does not change."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(path: Path, released: Released) -> None:
    """Download released weights: one process at a time, written aside, checked, renamed."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if path.is_file():
            return
        try:
            with aside(path) as temporary:
                with temporary.open("wb") as out:
                    digest = _download(released.url, out)
                if digest != released.sha256:
                    raise MseError(
                        f"The download of {released.url} has the SHA-256 {digest}, expected {released.sha256}. "
                        f"It was deleted. Run the command again, or {released.otherwise}."
                    )
        except OSError as error:
            raise MseError(
                f"The weights of {released.used_by} could not be downloaded ({error}). Download {released.url} "
                f"({released.size}) to {path}, or {released.otherwise}."
            ) from error


def _download(url: str, out: Any) -> str:
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 -- of one of the releases above
        while chunk := answer.read(_CHUNK):
            size += len(chunk)
            if size > _MOST_BYTES:
                raise MseError(f"The download of {url} is larger than {_MOST_BYTES} bytes. It was deleted.")
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Any]:
    """A state dict from a ``.safetensors`` or torch file; code inside a pickle is never run.

    Raises:
        UsageError: The file is not a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises many types of errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"The weights {path} of visual.facenet cannot be read: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UsageError(f"The weights {path} of visual.facenet are not a state dict, expected names with tensors.")
    return state
