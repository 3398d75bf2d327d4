"""Adapters on the Hugging Face hub: upload, download, and the model card.

Only the three files of an adapter's folder go either way, each of bounded size: no pickle, no code, nothing else that a
repository may hold.

The model card of an adapter's folder: README.md, as the hub shows it.

Names of datasets, classes and streams may come from strangers: whatever is put into the text is written so that
Markdown and HTML show it as it stands, and the head is written by a YAML library.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.save import DESCRIPTION, LARGEST, WEIGHTS, describe, load
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.storage import ASIDE, write_json, write_text

CARD = "README.md"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_LONGEST = 600
"""Letters of a single value; a card is to be read."""


class _Written(str):
    """Text that is Markdown already."""

    __slots__ = ()


def write_card(folder: str | Path, result: Mapping[str, Any] | None = None) -> Path:
    """Write the card of an adapter that `save` wrote, and keep its results with it.

    Args:
        folder: The adapter's.
        result: What the training ended with, as its result.json has it: ``valid`` and ``test`` (metric -> value),
            ``best_epoch``, ``epochs``, ``alarms``. None for those that the folder already keeps.

    Returns:
        The card.

    Raises:
        UsageError: The folder holds no adapter.
        MseError: Its description is damaged.
    """
    folder = Path(folder)
    description = describe(folder)
    if result is not None:
        kept = ("valid", "test", "best_epoch", "epochs", "alarms")
        description["results"] = {key: result[key] for key in kept if key in result}
        write_json(folder / DESCRIPTION, description)
    write_text(folder / CARD, render_card(description))
    return folder / CARD


def render_card(description: Mapping[str, Any]) -> str:
    """The card's text.

    Args:
        description: What stands in ``adapter.json``.
    """
    import jinja2

    source = resources.files("mse_pipeline.adapter").joinpath("card.md.j2").read_text("utf-8")
    environment = jinja2.Environment(  # noqa: S701 - `finalize` escapes everything, for Markdown as well as for HTML
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.from_string(source).render(_values(description))
    return re.sub(r"\n{3,}", "\n\n", text)


def plain_text(value: object) -> str:
    r"""A value as Markdown that shows it as it stands: on one line, no markup, no link, no HTML.

    Examples:
        >>> print(plain_text("[joy](http://a.b) <b>|`x`"))
        \[joy\]\(http\://a\.b\) &lt;b&gt;\|\`x\`
    """
    text = _line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Besides marks, what turns addresses into links of themselves: ://, www. and @.
    return re.sub(r"([\\`*_{}\[\]()|#!~$@]|:(?=//)|\.(?=\w*[A-Za-z]))", r"\\\1", text)


def _finalize(value: object) -> str:
    return value if isinstance(value, _Written) else plain_text(value)


def _values(description: Mapping[str, Any]) -> dict[str, Any]:
    config = AdapterConfig.from_json(description["config"])
    about, results = _mapping(description.get("extra")), _mapping(description.get("results"))
    splits = [split for split in ("valid", "test") if _numbers(results.get(split))]
    scores = {split: _numbers(results.get(split)) for split in splits}
    names = list(dict.fromkeys(name for split in splits for name in scores[split]))
    backbone = _mapping(about.get("backbone"))
    clips = _mapping(about.get("clips"))
    dataset = about.get("dataset", "an unnamed dataset")
    left_out = [
        what
        for what, there in (("TGM", config.mixer or not config.text), ("MSF", config.fusion), ("text", config.text))
        if not there
    ]
    speaks = backbone.get("name") != "none"
    answers = "The backbone answers with its own words." if config.head is None else _HEAD_ANSWERS
    return {
        "model": "" if config.model == "mse-adapter" else config.model,
        "speaks": speaks,
        "head": _Written(_head(description)),
        "title": card_title(description),
        "imported": bool(about.get("imported_from")),
        "dataset": dataset,
        "parameters": f"{description['parameters']:,}" if isinstance(description.get("parameters"), int) else "some",
        "backbone": _backbone(backbone),
        "streams": list(_streams(about, config)),
        "text": "the transcript" if config.text else "not read",
        "pseudo_tokens": config.pseudo_tokens,
        "place": _PLACES[config.place],
        "answers": answers if speaks else "The model answers itself.",
        "width": config.hidden_size,
        "left_out": ", ".join(left_out),
        "clips": ", ".join(f"{count} clips to {use}" for use, count in _uses(clips)) or "clips not told",
        "seed": about.get("seed", "not told"),
        "best_epoch": results.get("best_epoch"),
        "epochs": results.get("epochs"),
        "settings": list(_mapping(about.get("training")).items()),
        "question": _mapping(about.get("prompt")).get("task", "") if speaks else "",
        "splits": [{"valid": "validation"}.get(split, split) for split in splits],
        "results": [(name, [_shown(scores[split].get(name)) for split in splits]) for name in names],
        "alarms": [alarm for alarm in results.get("alarms") or () if isinstance(alarm, str)],
        "versions": ", ".join(f"{name} {version}" for name, version in packages(description).items()),
    }


def card_title(description: Mapping[str, Any]) -> str:
    """What an adapter is called: dataset, backbone, variant.

    Examples:
        >>> card_title({"extra": {"dataset": "meld", "backbone": {"name": "models/qwen"}, "variant": "without visual"}})
        'meld-qwen-without-visual'
    """
    about, config = _mapping(description.get("extra")), description.get("config")
    if about.get("imported_from"):
        backbone = last_part(_mapping(about.get("backbone")).get("name"))
        return _line(f"{Path(str(about['imported_from'])).stem}-{backbone}")
    speaker, model = (_mapping(one).get(key) for one, key in ((about.get("backbone"), "name"), (config, "model")))
    others = (None if speaker == "none" else last_part(speaker), None if model == "mse-adapter" else model)
    parts = (about.get("dataset"), *others, about.get("variant"))
    return "-".join(_line(part).replace(" ", "-") for part in parts if part) or "MSE-Adapter"


def card_summary(description: Mapping[str, Any]) -> list[list[tuple[str, str]]]:
    """What a card tells, in a few rows for a terminal; control characters of strangers are replaced."""
    values = _values(description)
    rows: list[tuple[str, object]] = [
        ("adapter", values["title"]),
        ("weights", values["parameters"]),
        ("pseudo tokens", f"{values['pseudo_tokens']} of width {values['width']}"),
    ]
    if values["left_out"]:
        rows.append(("left out", values["left_out"]))
    reads: list[tuple[str, object]] = [
        (row["modality"], f"{row['stream']}, {row['dims']} values a row" if row["dims"] else row["stream"])
        for row in values["streams"]
    ]
    trained: list[tuple[str, object]] = [("text", values["text"])]
    if not values["imported"]:
        trained += [("dataset", values["dataset"]), ("clips", values["clips"]), ("seed", values["seed"])]
    heads = ", ".join(values["splits"])
    results: list[tuple[str, object]] = [(f"{name} ({heads})", ", ".join(cells)) for name, cells in values["results"]]
    sections = [rows, [("backbone " + name, value) for name, value in values["backbone"]], reads + trained, results]
    sections.append([("made with", values["versions"])])
    return [[(_printable(key), _printable(value)) for key, value in section] for section in sections if section]


def _line(value: object) -> str:
    """A value on one line, without control and direction characters, of bounded length."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _printable(value: object) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value)[:_LONGEST])


def packages(description: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the libraries that an adapter was made with."""
    own = {"mse-pipeline": str(description.get("mse_pipeline", "unknown"))}
    return own | {str(name): str(version) for name, version in _mapping(description.get("packages")).items()}


def last_part(name: object) -> str:
    """The last part of a folder or hub name: the rest of a path tells of someone's machine.

    Examples:
        >>> last_part("/home/ann/models/qwen/"), last_part("Qwen/Qwen2.5-0.5B")
        ('qwen', 'Qwen2.5-0.5B')
    """
    return re.split(r"[\\/]", str(name or "").rstrip("\\/"))[-1]


def hub_id(backbone: Mapping[str, Any]) -> str | None:
    """A backbone's repository on the hub; none for a folder or the built-in one."""
    source = backbone.get("source")
    known = isinstance(source, str) and _HUB_ID.fullmatch(source) and backbone.get("revision")
    return str(source) if known and not Path(str(source)).is_dir() else None


def _head(description: Mapping[str, Any]) -> str:
    """The card's YAML, with the keys that the hub knows."""
    import yaml

    about, results = _mapping(description.get("extra")), _mapping(description.get("results"))
    dataset, scores = _line(about.get("dataset", "")), _numbers(results.get("test"))
    test = {_line(name): value for name, value in scores.items()}
    head: dict[str, Any] = {
        "library_name": "mse-pipeline",
        "tags": ["mse-adapter", "multimodal", "emotion-recognition", "sentiment-analysis"],
    }
    base = hub_id(_mapping(about.get("backbone")))
    if base:
        head |= {"base_model": base, "base_model_relation": "adapter"}
    language = _mapping(about.get("prompt")).get("language")
    if isinstance(language, str) and re.fullmatch(r"[a-z]{2,3}", language):
        head["language"] = [language]
    if _NAME.fullmatch(dataset):
        head["datasets"] = [dataset]
    if test:
        head["metrics"] = list(test)
        head["model-index"] = [
            {
                "name": card_title(description),
                "results": [
                    {
                        "task": {"type": "other", "name": "multimodal emotion and sentiment recognition"},
                        "dataset": {"name": dataset, "type": dataset, "split": "test"},
                        "metrics": [{"type": name, "name": name, "value": value} for name, value in test.items()],
                    }
                ],
            }
        ]
    text: str = yaml.safe_dump(head, sort_keys=False, allow_unicode=False, width=1_000_000)
    return text.strip()


def _backbone(backbone: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("name", last_part(backbone.get("name")) or "not told")]
    hub = hub_id(backbone)
    if hub:
        rows.append(("on the hub", hub))
    keys = {"revision": "revision", "stored_as": "stored as", "dtype": "number format", "quantization": "quantization"}
    for key, called in keys.items():
        if backbone.get(key):
            rows.append((called, str(backbone[key])))
    if backbone.get("digest"):
        rows.append(("SHA-256 of all weights", str(backbone["digest"])))
    return rows


_PLACES = {
    "before-text": "before the text",
    "behind-text": "behind the text",
    "before-answer": "behind the whole prompt",
}
_HEAD_ANSWERS = "A small layer on the backbone's last state answers; it is part of this folder."


def _streams(about: Mapping[str, Any], config: AdapterConfig) -> Sequence[dict[str, object]]:
    streams = _mapping(about.get("streams"))
    rows = []
    for modality, dims, hidden in (
        ("acoustic", config.acoustic_dim, config.acoustic_hidden),
        ("visual", config.visual_dim, config.visual_hidden),
    ):
        stream = _mapping(streams.get(modality))
        clock = _mapping(stream.get("alignment"))
        options = ", ".join(f"{key} {value}" for key, value in clock.items() if key != "kind")
        told = {"none": "its own"}.get(str(clock.get("kind")), str(clock.get("kind", "")))
        rows.append(
            {
                "modality": modality,
                "stream": "not read" if dims is None else stream.get("name", "not told"),
                "dims": "" if dims is None else dims,
                "encoder": "" if dims is None or config.model != "mse-adapter" else f"{config.encoder}, {hidden}",
                "clock": f"{told} ({options})" if options else told,
                "version": stream.get("version", ""),
            }
        )
    return rows


def _uses(clips: Mapping[str, Any]) -> list[tuple[str, object]]:
    uses = {"train": "train on", "valid": "choose the epoch by", "test": "test on"}
    return [(use, clips[split]) for split, use in uses.items() if split in clips]


def _numbers(scores: object) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in _mapping(scores).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


FILES = {DESCRIPTION: LARGEST, CARD: 4 << 20, WEIGHTS: 2 << 30}
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
            commit_message=f"Adapter {card_title(describe(prepared))}",
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
        missing = [name for name in names if name not in sizes and name != CARD]
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
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, copy / CARD)
        else:
            write_card(copy)
        yield copy


def _without_places(extra: dict[str, Any]) -> dict[str, Any]:
    """The same without paths; the last part of each stays, by which its owner knows it."""
    shown = {key: _last_parts(value) if key in _MAY_HOLD_PATHS else value for key, value in extra.items()}
    if "places" in shown:
        shown["places"] = {}
    backbone = shown.get("backbone")
    if isinstance(backbone, dict) and backbone.get("source") != "built-in" and hub_id(backbone) is None:
        for key in ("name", "source"):
            backbone[key] = last_part(backbone.get(key))
    return shown


def _last_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if key == "names" else _last_parts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_last_parts(item) for item in value]
    if isinstance(value, str) and "\n" not in value and (os.path.isabs(value) or value.startswith("~")):
        return last_part(value)
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
