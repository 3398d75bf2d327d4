"""Checkpoints from the hub: fetched into its cache once, then a folder like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mse_pipeline.backbones import registry
from mse_pipeline.backbones.checkpoint import TOKENIZER_FILES
from mse_pipeline.errors import UsageError
from mse_pipeline.model_files import CONFIG, OTHER_COPIES, PICKLED_WEIGHTS, SAFE_WEIGHTS

_SMALL_FILES = (*TOKENIZER_FILES, "*config.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")


def fetch_config(name: str, asked: str, revision: str | None = None) -> Path:
    """Fetch the configuration alone, so that an unfit model is refused before its gigabytes are fetched.

    Args:
        name: Hub name, as in ``Qwen/Qwen2.5-0.5B``.
        asked: What the user called it, for the sentences.
        revision: Branch, tag or commit; None for the newest.

    Returns:
        Folder of the hub's cache that holds the files of this revision.

    Raises:
        UsageError: There is no such repository, it is gated, or the hub cannot be reached and the cache lacks it.
    """
    return _fetch(name, asked, (CONFIG,), revision)


def fetch_tokenizer(name: str, asked: str, revision: str | None = None) -> Path:
    """Fetch tokenizer and configuration without the weights.

    Args, Returns and Raises: those of `fetch_config`.
    """
    return _fetch(name, asked, _SMALL_FILES, revision)


def fetch_all(name: str, asked: str, revision: str | None = None) -> Path:
    """Fetch weights, tokenizer and configuration; pickled weights only where there are no others.

    Args and Returns: those of `fetch_config`.

    Raises:
        UsageError: As `fetch_config`, or there are no weights: not in the repository, or not in the cache.
    """
    folder = _fetch(name, asked, (*_SMALL_FILES, *SAFE_WEIGHTS), revision)
    if not any(folder.glob("*.safetensors")):
        folder = _fetch(name, asked, (*_SMALL_FILES, *PICKLED_WEIGHTS), revision)
        if not any(folder.glob("*.bin")):
            raise UsageError(
                f"The hub's cache holds no weights of {name}: either the repository has none that transformers reads, "
                f"or they were never fetched; on a machine with a connection, run {download_line(name)}."
            )
    return folder


def is_cached(name: str, revision: str | None = None) -> bool:
    """Whether the hub's cache holds weights and configuration of a repository. Reaches no network."""
    return cached_folder(name, revision) is not None


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder in the hub's cache that holds weights and configuration of a repository; None where there is none.

    Reaches no network.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        config = huggingface_hub.try_to_load_from_cache(name, CONFIG, revision=revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")) else None


def download_line(name: str) -> str:
    """The two commands that bring a repository to a machine and use it there.

    Examples:
        >>> download_line("Qwen/Qwen2.5-0.5B")
        '`hf download Qwen/Qwen2.5-0.5B --local-dir Qwen2.5-0.5B`, then `--backbone ./Qwen2.5-0.5B`'
    """
    folder = name.rsplit("/", 1)[-1]
    return f"`hf download {name} --local-dir {folder}`, then `--backbone ./{folder}`"


def _fetch(name: str, asked: str, patterns: Sequence[str], revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(OTHER_COPIES)
        )
    except errors.HFValidationError as error:
        raise UsageError(unknown_sentence(asked, "nor can it be a hub name")) from error
    except errors.GatedRepoError as error:
        raise UsageError(
            f"Backbone {name} is gated on the hub: accept its licence on its page there, log in with "
            "`hf auth login` (or set HF_TOKEN), and run this again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(
            f"The repository {name} has no revision {revision!r}: give a branch, a tag or a commit of it."
        ) from error
    except errors.RepositoryNotFoundError as error:
        private = "nor a repository that the hub shows you (a private one needs `hf auth login`)"
        raise UsageError(unknown_sentence(asked, private)) from error
    except Exception as error:
        # From here on it is the connection: the hub's client lets errors of several HTTP libraries through.
        raise UsageError(_unreachable(name, asked, error)) from error
    return Path(folder)


def _unreachable(name: str, asked: str, error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set"
    else:
        why = f"the hub cannot be reached ({type(error.__cause__ or error).__name__})"
    if registry.by_hub_id(name) is None and "/" not in name:
        return unknown_sentence(asked, f"nor in the hub's cache, and {why}")
    known = registry.by_hub_id(name)
    account = "accept its licence on its hub page, `hf auth login`, " if known is not None and known.gated else ""
    return (
        f"Backbone {asked!r} is not in the hub's cache and {why}: on a machine with a connection, {account}run "
        f"{download_line(name)}{_or_nearest(asked)}."
    )


def unknown_sentence(asked: str, last: str) -> str:
    """The sentence on a name that leads nowhere.

    Args:
        asked: What the user called it.
        last: What else it is not, as in ``nor a repository of the hub``.
    """
    near = registry.nearest(asked) or tuple(entry.name for entry in registry.ENTRIES)
    return (
        f"Backbone {asked!r} is neither a short name nor a folder, {last}: take one of {', '.join(near)}, or a folder."
    )


def _or_nearest(asked: str) -> str:
    near = [] if registry.find(asked) or registry.by_hub_id(asked) else registry.nearest(asked)
    return f"; short names like it: {', '.join(near)}" if near else ""
