"""Weights of InceptionResnetV1: a given file, one in the models' folder, or fetched once with a checked digest."""

from __future__ import annotations

import functools
import hashlib
import os
import urllib.request
from pathlib import Path
from typing import Any

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.atomic import aside

NAME = "20180402-114759-vggface2.pt"
URL = f"https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/{NAME}"
SHA256 = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
"""Digest of the released file of 111,898,327 bytes."""

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_MOST_BYTES = 1 << 28


def models_folder() -> Path:
    """Where models are kept: `$MSE_MODELS`, else ``~/.cache/mse/models``."""
    given = os.environ.get("MSE_MODELS")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "mse" / "models"


def find_weights(given: str | None) -> Path:
    """The weights' file.

    Args:
        given: Path of a file of one's own; None for the released weights, which are fetched where they are missing.

    Raises:
        UsageError: The given file does not exist.
        MseError: The released weights are damaged, or missing and cannot be fetched.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise UsageError(
                f"The weights {path} of visual.facenet do not exist; leave the option out to fetch {NAME}."
            )
        return path
    path = models_folder() / NAME
    if not path.is_file():
        _fetch(path)
    found = file_sha256(path)
    if found != SHA256:
        raise MseError(
            f"{path} is damaged or another file: its SHA-256 is {found}, that of the released weights {SHA256}. "
            f"Delete it to fetch it again, or name it as option `weights` of visual.facenet."
        )
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; computed once for a file that does not change."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(path: Path) -> None:
    """Download the released weights: one process at a time, written aside, checked, renamed."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if path.is_file():
            return
        try:
            with aside(path) as temporary:
                with temporary.open("wb") as out:
                    digest = _download(out)
                if digest != SHA256:
                    raise MseError(f"What {URL} gave has SHA-256 {digest} instead of {SHA256}; it was thrown away.")
        except OSError as error:
            raise MseError(
                f"The weights of visual.facenet could not be fetched ({error}); download {URL} (112 MB) to {path}, "
                f"or name a file of your own as option `weights`."
            ) from error


def _download(out: Any) -> str:
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer:
        while chunk := answer.read(_CHUNK):
            size += len(chunk)
            if size > _MOST_BYTES:
                raise MseError(f"{URL} gave more than {_MOST_BYTES} bytes; it was thrown away.")
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Any]:
    """A state dict from a ``.safetensors`` or torch file, without running anything that a pickle may hold.

    Raises:
        UsageError: The file is no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its format's reader stumbles over
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"The weights {path} of visual.facenet cannot be read: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UsageError(f"The weights {path} of visual.facenet are no state dict: names with tensors were expected.")
    return state
