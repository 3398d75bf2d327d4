"""Adapters on disk: `adapter.safetensors` beside a versioned `adapter.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mse_pipeline import __version__
from mse_pipeline.adapter.base import Model
from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.models import build
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.storage import aside, write_json

FORMAT = 1
"""Version of the folder's layout; readers refuse a newer one."""
WEIGHTS, DESCRIPTION = "adapter.safetensors", "adapter.json"
LARGEST = 32 << 20
"""Bytes of a description; it has some thousands, so that a larger file is something else."""
_PACKAGES = ("torch", "transformers", "safetensors")


def save(adapter: Model, folder: str | Path, extra: Mapping[str, Any] | None = None) -> Path:
    """Write an adapter to a folder, each file whole or not at all.

    The description comes last and holds the weights' SHA-256, so that `load` notices a pair that a kill left
    unfinished.

    Args:
        adapter: What to write.
        folder: Where; made if need be. An adapter that is already there is replaced.
        extra: Anything else that belongs to it, as plain JSON values.

    Returns:
        The folder.

    Raises:
        TypeError: `extra` holds what JSON cannot.

    Examples:
        >>> from tempfile import mkdtemp
        >>> config = AdapterConfig(hidden_size=64, acoustic_dim=25, visual_dim=None)
        >>> folder = save(build(config), mkdtemp(), {"seed": 1111})
        >>> adapter, extra = load(folder)
        >>> adapter.config == config, extra
        (True, {'seed': 1111})
    """
    folder = Path(folder)
    plain = json.loads(json.dumps(dict(extra or {}), allow_nan=False))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state_dict().items()}
    with aside(folder / WEIGHTS) as temporary:
        save_file(state, temporary)
        digest = _sha256(temporary)
    description = {
        "format": FORMAT,
        "mse_pipeline": __version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "config": adapter.config.to_json(),
        "parameters": sum(parameter.numel() for parameter in adapter.parameters()),
        "sha256": digest,
        "extra": plain,
    }
    adapter.write_beside(folder)
    write_json(folder / DESCRIPTION, description)
    return folder


def load(folder: str | Path) -> tuple[Model, dict[str, Any]]:
    """Read an adapter that `save` wrote: on the CPU, in evaluation mode, with its `extra`.

    The folder may come from a stranger: nothing in it runs, and no more memory is taken than its files are large.

    Raises:
        UsageError: The folder holds no adapter, or one of a newer format.
        MseError: It is damaged; the sentence says how.
    """
    folder = Path(folder)
    description = describe(folder)
    config = AdapterConfig.from_json(description["config"])
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise MseError(f"{folder} has {DESCRIPTION} but no {WEIGHTS}. Copy both files, or train again.")
    if _sha256(weights) != description["sha256"]:
        raise MseError(
            f"{weights} is not the file that {DESCRIPTION} describes: its SHA-256 differs. It was damaged, or only "
            "one of the two files was copied. Copy both again, or train again."
        )
    try:
        _require_plausible(config, weights.stat().st_size)
        adapter = build(config)
        adapter.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise MseError(f"{weights} does not hold the weights of its configuration: {error}") from error
    return adapter.eval(), description["extra"]


def describe(folder: str | Path) -> dict[str, Any]:
    """What an adapter's folder says of it, its weights unread: ``config``, ``sha256``, ``extra`` and more.

    Raises:
        UsageError: The folder holds no adapter, or one of a newer format.
        MseError: Its description is damaged.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UsageError(f"{folder} holds no adapter: it has no file {DESCRIPTION}.")
    if path.stat().st_size > LARGEST:
        raise MseError(f"{path} is larger than {LARGEST >> 20} MiB, which no adapter's description is.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MseError(f"{path} is not readable JSON: {error}. Copy it again, or train again.") from error
    found = value.get("format") if isinstance(value, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise UsageError(f"{path} does not describe an adapter of mse-pipeline: it names no format version.")
    if found != FORMAT:
        raise UsageError(
            f"{path} has format {found}, but this mse-pipeline ({__version__}) reads format {FORMAT}; "
            f"it was written by version {value.get('mse_pipeline')}. Upgrade: pip install -U mse-pipeline."
        )
    parts = {"config": dict, "sha256": str, "extra": dict}
    wrong = [name for name, kind in parts.items() if not isinstance(value.get(name), kind)]
    if wrong:
        raise MseError(f"{path} is damaged: {', '.join(wrong)} missing or malformed. Copy it again, or train again.")
    return value


def _require_plausible(config: AdapterConfig, size: int) -> None:
    """Refuse sizes that a file of so many bytes cannot hold, before memory is taken for them."""
    with torch.device("meta"):
        wanted = sum(parameter.numel() * parameter.element_size() for parameter in build(config).parameters())
    if wanted > size:
        raise RuntimeError(f"its {size} bytes cannot hold the {wanted} that these sizes need.")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
