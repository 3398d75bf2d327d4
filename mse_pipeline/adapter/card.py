"""The model card of an adapter's folder: README.md, as the hub shows it.

Names of datasets, classes and streams may come from strangers: whatever is put into the text is written so that
Markdown and HTML show it as it stands, and the head is written by a YAML library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.save import DESCRIPTION, describe
from mse_pipeline.store.atomic import write_json, write_text

CARD = "README.md"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_LONGEST = 600
"""Letters of a single value; a card is to be read."""


class _Written(str):
    """Text that is Markdown already."""

    __slots__ = ()


def write(folder: str | Path, result: Mapping[str, Any] | None = None) -> Path:
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
    write_text(folder / CARD, render(description))
    return folder / CARD


def render(description: Mapping[str, Any]) -> str:
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


def plain(value: object) -> str:
    r"""A value as Markdown that shows it as it stands: on one line, no markup, no link, no HTML.

    Examples:
        >>> print(plain("[joy](http://a.b) <b>|`x`"))
        \[joy\]\(http\://a\.b\) &lt;b&gt;\|\`x\`
    """
    text = _line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Besides marks, what turns addresses into links of themselves: ://, www. and @.
    return re.sub(r"([\\`*_{}\[\]()|#!~$@]|:(?=//)|\.(?=\w*[A-Za-z]))", r"\\\1", text)


def _finalize(value: object) -> str:
    return value if isinstance(value, _Written) else plain(value)


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
    return {
        "head": _Written(_head(description)),
        "title": title(description),
        "imported": bool(about.get("imported_from")),
        "dataset": dataset,
        "parameters": f"{description['parameters']:,}" if isinstance(description.get("parameters"), int) else "some",
        "backbone": _backbone(backbone),
        "streams": list(_streams(about, config)),
        "text": "the transcript" if config.text else "not read",
        "pseudo_tokens": config.pseudo_tokens,
        "width": config.hidden_size,
        "left_out": ", ".join(left_out),
        "clips": ", ".join(f"{count} clips to {use}" for use, count in _uses(clips)) or "clips not told",
        "seed": about.get("seed", "not told"),
        "best_epoch": results.get("best_epoch"),
        "epochs": results.get("epochs"),
        "settings": list(_mapping(about.get("training")).items()),
        "question": _mapping(about.get("prompt")).get("task", ""),
        "splits": [{"valid": "validation"}.get(split, split) for split in splits],
        "results": [(name, [_shown(scores[split].get(name)) for split in splits]) for name in names],
        "alarms": [alarm for alarm in results.get("alarms") or () if isinstance(alarm, str)],
        "versions": ", ".join(f"{name} {version}" for name, version in packages(description).items()),
    }


def title(description: Mapping[str, Any]) -> str:
    """What an adapter is called: dataset, backbone, variant.

    Examples:
        >>> title({"extra": {"dataset": "meld", "backbone": {"name": "models/qwen"}, "variant": "without visual"}})
        'meld-qwen-without-visual'
    """
    about = _mapping(description.get("extra"))
    if about.get("imported_from"):
        backbone = last_part(_mapping(about.get("backbone")).get("name"))
        return _line(f"{Path(str(about['imported_from'])).stem}-{backbone}")
    parts = (about.get("dataset"), last_part(_mapping(about.get("backbone")).get("name")), about.get("variant"))
    return "-".join(_line(part).replace(" ", "-") for part in parts if part) or "MSE-Adapter"


def summary(description: Mapping[str, Any]) -> list[list[tuple[str, str]]]:
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
                "name": title(description),
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
    for key, called in (("revision", "revision"), ("dtype", "number format"), ("quantization", "quantization")):
        if backbone.get(key):
            rows.append((called, str(backbone[key])))
    if backbone.get("digest"):
        rows.append(("SHA-256 of all weights", str(backbone["digest"])))
    return rows


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
                "hidden": "" if dims is None else hidden,
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
