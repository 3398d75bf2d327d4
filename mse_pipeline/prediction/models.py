"""Models that a run names, found on this machine: a run may come from a stranger, so that its word alone does little.

What a run names is looked for in the models' folder and in the hub's cache, which hold what the user fetched, and as a
folder of safetensors, which are data alone. Anything else, a download or pickled weights, the user names himself.
"""

from __future__ import annotations

from pathlib import Path

from mse_pipeline import backbones
from mse_pipeline.backbones import registry
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.hub import cached_folder
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.model_files import weight_files
from mse_pipeline.training.stored import Stored

BUILT_IN = "built-in"


def load_backbone(stored: Stored, given: str | None = None, device: str = "cpu") -> Backbone:
    """The backbone that a run was trained with: the digest of its weights is the run's.

    Args:
        stored: The run.
        given: Where the user says that it is, by a short name, hub name or folder; None for where the run says.
        device: Where it computes.

    Raises:
        UsageError: It is not here, or another model is.
        MseError: It is damaged, or does not fit into memory.
    """
    about = stored.about.backbone
    name, revision = given, None
    if given is not None:
        entry = registry.find(given)
        same = about.source in {given, entry.hub_id if entry else None}
        revision = about.revision if same and about.source != BUILT_IN and not Path(given).is_dir() else None
    elif about.source == BUILT_IN:
        name = registry.TINY
    else:
        name = str(find_here(about.source, about.revision, f"The run's backbone {about.source}", "--backbone PLACE"))
    loaded = backbones.load(
        str(name), dtype=about.dtype, device=device, revision=revision, quantization=about.quantization
    )
    found = loaded.digest()
    if found != about.digest:
        raise UsageError(
            f"The backbone {loaded.source} is not the one that the run was trained with ({about.source}): the SHA-256 "
            f"of its weights is {found[:12]}…, the run's {about.digest[:12]}…. Give the same checkpoint with "
            "--backbone, or train again."
        )
    if loaded.hidden_size != stored.config.hidden_size:
        raise MseError(
            f"{stored.path} is damaged: its adapter writes embeddings of width {stored.config.hidden_size}, and its "
            f"backbone reads {loaded.hidden_size}. Copy it again as a whole."
        )
    return loaded


def find_here(name: str, revision: str | None, what: str, option: str) -> Path:
    """The folder or file of a model that a run names, without a download.

    Args:
        name: Hub name, folder, or file of weights.
        revision: Commit of the hub, where the run tells one.
        what: How the sentence begins.
        option: With which option the user names it himself.

    Raises:
        UsageError: It is not on this machine, or its weights are pickled and lie where strangers may have put them.
    """
    kept = models_folder()
    for path in (kept / name, Path(name).expanduser()):
        if path.exists() and _inside(path, kept):
            return path
    path = Path(name).expanduser()
    if path.is_dir():
        files = weight_files(path)
    elif path.is_file():
        files = (path,)
    else:
        cached = cached_folder(name, revision)
        if cached is not None:
            return cached
        at = "" if revision is None else f" (commit {revision})"
        raise UsageError(
            f"{what}{at} is neither in the models' folder {kept}, nor in the hub's cache, nor a folder here. What a "
            f"run names is not downloaded unasked: if you trust it, name it yourself with {option}, a hub name or a "
            "folder."
        )
    pickled = [file.name for file in files if file.suffix != ".safetensors"]
    if pickled:
        raise UsageError(
            f"{what} has pickled weights ({pickled[0]}) outside of the models' folder {kept}. They are not opened on a "
            f"run's word: if you trust them, name the place yourself with {option}."
        )
    return path


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
