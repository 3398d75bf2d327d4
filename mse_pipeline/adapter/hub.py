"""Adapters on the Hugging Face hub: what is given away, and what is taken from strangers.

Only the three files of an adapter's folder go either way, each of bounded size: no pickle, no code, nothing else that a
repository may hold.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mse_pipeline.adapter import card
from mse_pipeline.adapter.save import DESCRIPTION, LARGEST, WEIGHTS, describe, load
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.atomic import ASIDE, write_json

FILES = {DESCRIPTION: LARGEST, card.CARD: 4 << 20, WEIGHTS: 2 << 30}
"""The files of an adapter, and the most bytes of each; the paper's adapters have 5 to 11 MB."""
_MAY_HOLD_PATHS = ("backbone", "streams", "words")
"""Of what a training keeps with its adapter; prompts, classes and names of values stay as they are."""


def push(folder: str | Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload an adapter's folder to the hub as one commit; the repository is made where there is none.

    What is uploaded names no folder of this machine: of a backbone in a folder only the last part of its path is told,
    and where models of extractors lie is left out.

    Args:
        folder: As `save` and `card.write` left it; a card that someone has edited goes up as it is.
        repository: As in ``someone/meld-qwen``.
        private: Make the repository private. One that exists and is public is refused.
        token: Of the hub; None for the one that is stored or in ``HF_TOKEN``.

    Returns:
        Address of the commit.

    Raises:
        UsageError: The folder holds no adapter, there is no token, the name is impossible, or the hub is offline.
        MseError: The adapter is damaged, or the hub refuses.
    """
    import huggingface_hub

    load(folder)
    _require_online(repository)
    token = token or huggingface_hub.get_token()
    if token is None:
        raise UsageError("The hub takes files from known users alone: log in with `hf auth login`, or set HF_TOKEN.")
    api = huggingface_hub.HfApi(token=token)
    with _prepared(Path(folder)) as prepared, _told(repository):
        api.create_repo(repository, private=private or None, exist_ok=True)
        if private and api.model_info(repository).private is False:
            raise UsageError(f"{repository} exists already and is public: take another name, or leave --private out.")
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=prepared,
            allow_patterns=list(FILES),
            commit_message=f"Adapter {card.title(describe(prepared))}",
        )
    return str(commit.commit_url)


def pull(
    repository: str, destination: str | Path, *, revision: str | None = None, token: str | None = None
) -> tuple[Path, str]:
    """Fetch an adapter from the hub into a new folder: whole and found good, or not at all.

    Args:
        repository: As in ``someone/meld-qwen``.
        destination: The new folder.
        revision: Branch, tag or commit; None for the newest.
        token: Of the hub; None for the one that is stored, if any.

    Returns:
        The folder, and the commit that was taken.

    Raises:
        UsageError: There is no such repository, revision or adapter in it, the folder is not empty, or the hub is
            offline.
        MseError: What is there is damaged, or too large for an adapter.
    """
    destination = Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} exists and is not empty: give the name of a new folder.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=ASIDE) as temporary:
        folder, commit = _fetch(repository, Path(temporary), tuple(FILES), revision, token)
        load(folder)
        if destination.exists():
            destination.rmdir()
        os.replace(folder, destination)
    return destination, commit


def peek(repository: str, *, revision: str | None = None, token: str | None = None) -> dict[str, Any]:
    """What an adapter on the hub says of itself, as `describe` gives it; its weights are not fetched.

    Args and Raises: those of `pull`.
    """
    with tempfile.TemporaryDirectory(prefix="mse-") as temporary:
        folder, _ = _fetch(repository, Path(temporary), (DESCRIPTION,), revision, token)
        return describe(folder)


def _fetch(
    repository: str, temporary: Path, names: tuple[str, ...], revision: str | None, token: str | None
) -> tuple[Path, str]:
    """The named files of one commit in a folder of their own; a card may be missing."""
    import huggingface_hub

    _require_online(repository)
    api = huggingface_hub.HfApi(token=token)
    folder = temporary / "adapter"
    folder.mkdir()
    with _told(repository, revision):
        info = api.model_info(repository, revision=revision, files_metadata=True)
        sizes = {one.rfilename: one.size for one in info.siblings or ()}
        missing = [name for name in names if name not in sizes and name != card.CARD]
        if missing:
            raise UsageError(f"{repository} holds no adapter of mse-pipeline: it has no {missing[0]}.")
        for name in names:
            if name not in sizes:
                continue
            _require_small(repository, name, sizes[name])
            # At the commit that was looked at, so that a change in between is not mixed in.
            fetched = api.hf_hub_download(repository, name, revision=info.sha, local_dir=temporary / "fetched")
            _require_small(repository, name, Path(fetched).stat().st_size)
            shutil.copyfile(fetched, folder / name)
    return folder, str(info.sha)


def _require_small(repository: str, name: str, size: int | None) -> None:
    if size is None or size > FILES[name]:
        told = "of unknown size" if size is None else f"of {size:,} bytes"
        raise MseError(f"{name} in {repository} is {told}; no adapter's is larger than {FILES[name]:,}. Not fetched.")


@contextmanager
def _prepared(folder: Path) -> Iterator[Path]:
    """A copy of an adapter's folder that tells nothing of this machine."""
    with tempfile.TemporaryDirectory(prefix="mse-") as temporary:
        copy = Path(temporary) / "adapter"
        copy.mkdir()
        description = describe(folder)
        description["extra"] = _without_places(description["extra"])
        write_json(copy / DESCRIPTION, description)
        shutil.copyfile(folder / WEIGHTS, copy / WEIGHTS)
        if (folder / card.CARD).is_file():
            shutil.copyfile(folder / card.CARD, copy / card.CARD)
        else:
            card.write(copy)
        yield copy


def _without_places(extra: dict[str, Any]) -> dict[str, Any]:
    """The same without paths; the last part of each stays, by which its owner knows it."""
    shown = {key: _last_parts(value) if key in _MAY_HOLD_PATHS else value for key, value in extra.items()}
    if "places" in shown:
        shown["places"] = {}
    backbone = shown.get("backbone")
    if isinstance(backbone, dict) and backbone.get("source") != "built-in" and card.hub_id(backbone) is None:
        for key in ("name", "source"):
            backbone[key] = card.last_part(backbone.get(key))
    return shown


def _last_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if key == "names" else _last_parts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_last_parts(item) for item in value]
    if isinstance(value, str) and "\n" not in value and (os.path.isabs(value) or value.startswith("~")):
        return card.last_part(value)
    return value


def _require_online(repository: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"The hub is not asked for {repository}: HF_HUB_OFFLINE is set. Unset it, and try again.")


@contextmanager
def _told(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn the errors of the hub's client into sentences."""
    from huggingface_hub import errors

    try:
        yield
    except MseError:
        raise
    except errors.HFValidationError as error:
        raise UsageError(f"{repository!r} is no name of a repository: give one as in someone/meld-qwen.") from error
    except errors.GatedRepoError as error:
        raise UsageError(
            f"{repository} is gated: accept its terms on its page of the hub, log in with `hf auth login`, and try "
            "again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(
            f"{repository} has no revision {revision!r}: give a branch, a tag or a commit of it."
        ) from error
    except errors.RepositoryNotFoundError as error:
        # The hub says the same of a private repository to whoever may not see it.
        raise UsageError(
            f"The hub has no repository {repository}, or shows it to others only: check the name, or log in with "
            "`hf auth login`."
        ) from error
    except errors.HfHubHTTPError as error:
        raise MseError(_refused(repository, error)) from error
    except Exception as error:
        # From here on it is the connection: the hub's client lets errors of several HTTP libraries through.
        raise MseError(
            f"The hub cannot be reached for {repository} ({type(error.__cause__ or error).__name__}: "
            f"{_first_line(error)}). Try again on a machine with a connection."
        ) from error


def _refused(repository: str, error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "The hub does not know the token (401): log in again with `hf auth login`, or set another HF_TOKEN."
    if status == 403:
        return (
            f"The hub does not let this token do that to {repository} (403): take a token that may write, and a name "
            "of your own."
        )
    return f"The hub refuses ({status or 'no status'}) for {repository}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "".join(c if c.isprintable() else " " for c in lines[0])[:200].rstrip(" .:") if lines else "no more is told"
