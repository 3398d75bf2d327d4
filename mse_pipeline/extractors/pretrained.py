"""Pretrained models of transformers: find or download a model, its digest, its configuration and its preprocessor.

A digest covers all files that the values depend on; that of a large file is remembered as long as path, size and time
stay the same. A model of the hub is taken from the hub's cache, or downloaded into it once. Nothing here loads weights,
and no code of a model is ever run: all classes are those of the installed transformers.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.model_files import CONFIG, OTHER_COPIES, PICKLED_WEIGHTS, SAFE_WEIGHTS, weight_files
from mse_pipeline.store.storage import write_text

_CHUNK = 1 << 20
_REMEMBERED = 1 << 23  # bytes; the digests of smaller files are computed again


def folder_digest(files: Iterable[Path], memory: Path) -> str:
    """Digest of some files of one folder by name and content; their order does not matter.

    Args:
        files: The files.
        memory: Folder of the remembered digests; if it cannot be written, no digest is remembered.

    Returns:
        32 hex digits.
    """
    lines = sorted(f"{path.name} {file_digest(path, memory)}" for path in files)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def file_digest(path: Path, memory: Path) -> str:
    """BLAKE2b of a file's content as 32 hex digits; see `folder_digest`."""
    path = path.resolve()
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns, memory)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, mtime_ns: int, memory: Path) -> str:
    if size < _REMEMBERED:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    note = memory / hashlib.blake2b(f"{path}\0{size}\0{mtime_ns}".encode(), digest_size=16).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        known = note.read_text(encoding="ascii")
        if re.fullmatch("[0-9a-f]{32}", known):
            return known
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    with contextlib.suppress(OSError):
        write_text(note, digest.hexdigest())
    return digest.hexdigest()


DESCRIBING_FILES = (
    CONFIG,
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files beside the weights that change the output of a model."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def find(model: str, revision: str | None = None, more: tuple[str, ...] = ()) -> Path:
    """The folder of a model: a given folder, one in `$MSE_MODELS` or the hub's cache, or downloaded into that cache.

    Args:
        model: A folder; or a hub name, as in ``microsoft/wavlm-large``, which is looked for as the folder of that
            name in the models' folder (`$MSE_MODELS`), then in the hub's cache, then on the hub.
        revision: Commit, tag or branch of a hub name; None for the newest. A folder in `$MSE_MODELS` has
            no known revision, and is not used if a revision is given.
        more: Further files that are downloaded with the model where it has them.

    Returns:
        A folder with ``config.json`` and weights.

    Raises:
        UsageError: There is no such folder or repository, or the folder holds no model.
        MseError: The model is gated, or it must be downloaded and the hub cannot be reached; the message says
            what to download where.

    Examples:
        >>> find("./nowhere")
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: The model folder './nowhere' does not exist. Give a folder that `save_pretrained` or `hf download` wrote, or a hub name such as microsoft/wavlm-base.
    """  # noqa: E501 - a doctest's error stands in one line
    if not model.strip():
        raise UsageError("The name of the model is empty: give a folder, or a hub name such as microsoft/wavlm-base.")
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{model} is a folder and has no revision {revision!r}. Leave the option `revision` out.")
        return require_model(folder)
    if folder.is_file():
        raise UsageError(f"The model {model} is a file: give the folder that holds {folder.name} with its {CONFIG}.")
    if not _HUB_NAME.fullmatch(model) or ".." in model:
        raise UsageError(
            f"The model folder {model!r} does not exist. Give a folder that `save_pretrained` or `hf download` wrote, "
            "or a hub name such as microsoft/wavlm-base."
        )
    kept = models_folder() / model
    if revision is None and kept.is_dir():
        return require_model(kept)

    return fetch(model, revision, kept, more)


def require_model(folder: Path) -> Path:
    """The folder itself, if it holds a model.

    Raises:
        UsageError: It lacks configuration or weights.
    """
    if not (folder / CONFIG).is_file():
        raise UsageError(
            f"{folder} has no {CONFIG}: a model is a folder with {CONFIG}, weights and, by its kind, "
            "preprocessor_config.json or a tokenizer, as `save_pretrained` and `hf download` write it."
        )
    weight_files(folder)
    return folder


def digest(folder: Path) -> str:
    """Digest of all that a model's values depend on: weights, configuration, preprocessor and tokenizer.

    The same files give the same digest in any folder. Large files are read once: their digest is remembered in the
    models' folder as long as path, size and time stay the same.

    Args:
        folder: The result of `find`.

    Returns:
        32 hex digits.

    Raises:
        UsageError: The folder holds no model.
    """
    describing = [folder / name for name in DESCRIBING_FILES if (folder / name).is_file()]
    return folder_digest([*weight_files(folder), *describing], models_folder() / ".digests")


def config(folder: Path) -> Any:
    """The configuration of a folder's model, as transformers' class of it, without its weights.

    Raises:
        UsageError: It cannot be read, or the installed transformers does not know the model.
    """
    return _config(folder, (folder / CONFIG).stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _config(folder: Path, mtime_ns: int) -> Any:
    import transformers
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers' configurations raise many types of errors
        raise UsageError(
            f"{folder / CONFIG} is not the configuration of a model that transformers {transformers.__version__} has "
            f"built in ({first_line(error)}). mse runs no code that comes with a model. Use another model or a newer "
            "transformers."
        ) from error


def plain_config(folder: Path) -> dict[str, Any]:
    """The configuration of a folder's model as its file has it, read without transformers.

    Raises:
        UsageError: It is no JSON object.
    """
    import json

    try:
        plain = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if isinstance(plain, dict):
            return plain
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{folder / CONFIG} cannot be read ({first_line(error)}): download it again.") from error
    raise UsageError(f"{folder / CONFIG} is no JSON object: download it again.")


def here(model: str, revision: str | None = None) -> bool:
    """Whether a model can be found without a download."""
    if Path(model).expanduser().is_dir() or (revision is None and (models_folder() / model).is_dir()):
        return True
    return bool(_HUB_NAME.fullmatch(model)) and _cached(model, revision) is not None


def first_line(error: Exception) -> str:
    """An error of another library as part of a sentence: its first line without a closing mark."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(' .:!')}" if lines else type(error).__name__


def fetch(name: str, revision: str | None, keep: Path, more: tuple[str, ...] = ()) -> Path:
    """The folder of a repository in the hub's cache; missing files are downloaded.

    Args:
        name: As in ``microsoft/wavlm-large``.
        revision: Commit, tag or branch; None for the newest.
        keep: Where the user can put a copy, for messages.
        more: Further files that are downloaded with the model where it has them.

    Raises:
        UsageError: There is no such repository or revision, or it holds no weights that transformers reads.
        MseError: It is gated, or the hub cannot be reached and the cache lacks it.
    """
    cached = _cached(name, revision, more)
    if cached is not None:
        return cached
    folder = _download(name, revision, keep, (*SAFE_WEIGHTS, *more))
    if not any(folder.glob("*.safetensors")):
        folder = _download(name, revision, keep, (*PICKLED_WEIGHTS, *more))
    return require_model(folder)


def find_files(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of a repository whose files are not in the layout of transformers; looked for as `find` does.

    Args:
        name: As in ``emotion2vec/emotion2vec_plus_base``.
        revision: Commit, tag or branch; None for the newest.
        patterns: Names of the files that are fetched, those of the weights first.

    Raises:
        UsageError: There is no such folder, repository or revision.
        MseError: It is gated, or it must be downloaded and the hub cannot be reached.

    Examples:
        >>> find_files("./nowhere", None, ["*.pt"])
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: There is no file or folder './nowhere'. Give one, or a name on the hub.
    """
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if not _HUB_NAME.fullmatch(name) or ".." in name:
        raise UsageError(f"There is no file or folder {name!r}. Give one, or a name on the hub.")
    kept = models_folder() / name
    if revision is None and kept.is_dir():
        return kept
    with contextlib.suppress(LocalEntryNotFoundError, HFValidationError):
        folder = _snapshot(name, revision, patterns, local_files_only=True)
        if any(any(folder.glob(pattern)) for pattern in patterns):
            return folder
    return _download(name, revision, kept, patterns)


def _cached(name: str, revision: str | None, more: tuple[str, ...] = ()) -> Path | None:
    """The repository's folder in the hub's cache, if it is complete. Uses no network."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    for weights in (SAFE_WEIGHTS, PICKLED_WEIGHTS):
        with contextlib.suppress(LocalEntryNotFoundError, HFValidationError, UsageError):
            return require_model(_snapshot(name, revision, (*weights, *more), local_files_only=True))
    return None


def _download(name: str, revision: str | None, keep: Path, weights: Sequence[str]) -> Path:
    from huggingface_hub import errors

    try:
        return _snapshot(name, revision, weights)
    except errors.GatedRepoError as error:
        raise MseError(
            f"The model {name} is gated on the hub: accept its licence on its page there, log in with `hf auth login` "
            "(or set HF_TOKEN), and run this again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"The model {name} has no revision {revision!r} on the hub.") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UsageError(
            f"The model {name!r} is neither a folder nor a repository that the hub shows you (a private one needs "
            "`hf auth login`)."
        ) from error
    except Exception as error:
        # All other errors come from the connection: the hub's client passes on those of several HTTP libraries.
        raise MseError(_unreachable(name, revision, keep, error)) from error


def _snapshot(name: str, revision: str | None, weights: Sequence[str], local_files_only: bool = False) -> Path:
    import huggingface_hub

    # For the hub's client, a snapshot is complete only with the patterns that it was downloaded with.
    folder = huggingface_hub.snapshot_download(
        name,
        revision=revision,
        allow_patterns=[*DESCRIBING_FILES, *weights],
        ignore_patterns=list(OTHER_COPIES),
        local_files_only=local_files_only,
    )
    return Path(folder)


def _unreachable(name: str, revision: str | None, keep: Path, error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set"
    else:
        why = f"the hub cannot be reached ({type(error.__cause__ or error).__name__})"
    missing = f"The model {name} is neither at {keep} nor in the hub's cache, and {why}."
    if revision is not None:
        return (
            f"{missing} On a machine with a connection, run `hf download {name} --revision {revision} --local-dir DIR`,"
            " bring DIR here, and give it as option `model` without `revision`."
        )
    return (
        f"{missing} On a machine with a connection, run `hf download {name} --local-dir DIR`, and bring DIR to {keep}."
    )


_FILES = {
    "AutoFeatureExtractor": "preprocessor_config.json",
    "AutoImageProcessor": "preprocessor_config.json",
    "AutoVideoProcessor": "video_preprocessor_config.json",
    "AutoTokenizer": "tokenizer.json (or the files of its vocabulary)",
}


def load_preprocessor(kind: str, folder: Path) -> Any:
    """Load the preprocessor in a model's folder.

    Args:
        kind: ``AutoFeatureExtractor`` for sound, ``AutoImageProcessor`` for pictures, ``AutoVideoProcessor`` for
            windows of frames, ``AutoTokenizer`` for text.
        folder: The model's folder.

    Raises:
        UsageError: The folder has none, or none that the installed transformers can read.
    """
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each kind raises other types of errors
        raise UsageError(
            f"The model folder {folder} has no usable {_FILES[kind]}: {first_line(error)}. Copy it from the model "
            "that this model was made from."
        ) from error
