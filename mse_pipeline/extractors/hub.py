"""Models from the hub: taken from its cache, else downloaded into it once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.pretrained import DESCRIBING_FILES, require_model
from mse_pipeline.model_files import OTHER_COPIES, PICKLED_WEIGHTS, SAFE_WEIGHTS


def fetch(name: str, revision: str | None, keep: Path) -> Path:
    """The folder of a repository in the hub's cache; what the cache lacks is downloaded.

    Args:
        name: As in ``microsoft/wavlm-large``.
        revision: Commit, tag or branch; None for the newest.
        keep: Where a copy by hand would be found, for the sentences.

    Raises:
        UsageError: There is no such repository or revision, or it holds no weights that transformers reads.
        MseError: It is gated, or the hub cannot be reached and the cache lacks it.
    """
    cached = _cached(name, revision)
    if cached is not None:
        return cached
    folder = _download(name, revision, keep, SAFE_WEIGHTS)
    if not any(folder.glob("*.safetensors")):
        folder = _download(name, revision, keep, PICKLED_WEIGHTS)
    return require_model(folder)


def _cached(name: str, revision: str | None) -> Path | None:
    """The repository's folder in the hub's cache, if all of it is there. Reaches no network."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    for weights in (SAFE_WEIGHTS, PICKLED_WEIGHTS):
        with contextlib.suppress(LocalEntryNotFoundError, HFValidationError, UsageError):
            return require_model(_snapshot(name, revision, weights, local_files_only=True))
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
        # From here on it is the connection: the hub's client lets errors of several HTTP libraries through.
        raise MseError(_unreachable(name, revision, keep, error)) from error


def _snapshot(name: str, revision: str | None, weights: Sequence[str], local_files_only: bool = False) -> Path:
    import huggingface_hub

    # The hub's client calls a snapshot complete only for the patterns that it was fetched with.
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
