"""Short names of backbones, as data: `mse train --backbone qwen2.5-0.5b` instead of a hub name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

TINY = "tiny"
"""Short name of the built-in backbone."""


@dataclass(frozen=True)
class Entry:
    """One backbone that has a short name.

    Attributes:
        name: The short name, in lower case.
        hub_id: Its repository on the hub; none for the built-in one.
        hidden_size: Width d of the token embeddings.
        parameters: Number of weights, tied ones once.
        licence: Under which its weights are given.
        languages: ISO 639-1 codes of the languages that it was trained for, the main ones first.
        family: Architecture by transformers' name, or ``built-in``.
        gated: Whether the hub asks for an account that has accepted the licence.
        needs_conversion: Whether its checkpoint has a layout that today's transformers cannot read.
        instead: Short name of the nearest one that can be read, for one that needs conversion.
    """

    name: str
    hub_id: str | None
    hidden_size: int
    parameters: int
    licence: str
    languages: tuple[str, ...]
    family: str
    gated: bool = False
    needs_conversion: bool = False
    instead: str | None = None


@dataclass(frozen=True)
class Availability:
    """Whether a backbone can be loaded on this machine as it is.

    Attributes:
        entry: The backbone.
        ready: Whether `backbones.load` would find it without a download.
        needs: What is missing, as a sentence with the line that mends it; empty where nothing is.
    """

    entry: Entry
    ready: bool
    needs: str


_ZH_EN, _EN = ("zh", "en"), ("en",)
_LLAMA3_LANGUAGES = ("en", "de", "fr", "it", "pt", "hi", "es", "th")

ENTRIES: tuple[Entry, ...] = (
    Entry(TINY, None, 128, 492_160, "Apache-2.0", _EN, "built-in"),
    # The three of the paper (arXiv 2502.12478).
    Entry(
        "qwen",
        "Qwen/Qwen-1_8B",
        2048,
        1_836_828_672,
        "Tongyi Qianwen Research",
        _ZH_EN,
        "qwen",
        needs_conversion=True,
        instead="qwen2.5-1.5b",
    ),
    Entry(
        "chatglm3",
        "zai-org/chatglm3-6b-base",
        4096,
        6_243_584_000,
        "ChatGLM3-6B",
        _ZH_EN,
        "chatglm",
        needs_conversion=True,
        instead="glm-4-9b",
    ),
    Entry("llama2", "meta-llama/Llama-2-7b-hf", 4096, 6_738_415_616, "Llama 2", _EN, "llama", gated=True),
    Entry("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 896, 494_032_768, "Apache-2.0", _ZH_EN, "qwen2"),
    Entry("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B", 1536, 1_543_714_304, "Apache-2.0", _ZH_EN, "qwen2"),
    Entry("qwen2.5-7b", "Qwen/Qwen2.5-7B", 3584, 7_615_616_512, "Apache-2.0", _ZH_EN, "qwen2"),
    Entry("qwen3-0.6b", "Qwen/Qwen3-0.6B", 1024, 596_049_920, "Apache-2.0", _ZH_EN, "qwen3"),
    Entry("qwen3-1.7b", "Qwen/Qwen3-1.7B", 2048, 1_720_574_976, "Apache-2.0", _ZH_EN, "qwen3"),
    Entry("qwen3-4b", "Qwen/Qwen3-4B", 2560, 4_022_468_096, "Apache-2.0", _ZH_EN, "qwen3"),
    Entry("qwen3-8b", "Qwen/Qwen3-8B", 4096, 8_190_735_360, "Apache-2.0", _ZH_EN, "qwen3"),
    Entry(
        "llama3.2-1b",
        "meta-llama/Llama-3.2-1B",
        2048,
        1_235_814_400,
        "Llama 3.2",
        _LLAMA3_LANGUAGES,
        "llama",
        gated=True,
    ),
    Entry("smollm2-135m", "HuggingFaceTB/SmolLM2-135M", 576, 134_515_008, "Apache-2.0", _EN, "llama"),
    Entry("smollm2-360m", "HuggingFaceTB/SmolLM2-360M", 960, 361_821_120, "Apache-2.0", _EN, "llama"),
    Entry("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B", 2048, 1_711_376_384, "Apache-2.0", _EN, "llama"),
    Entry("glm-4-9b", "zai-org/glm-4-9b-hf", 4096, 9_399_951_360, "GLM-4", _ZH_EN, "glm"),
)
"""Every short name, the built-in one and the paper's three first."""


def find(name: str) -> Entry | None:
    """The backbone of a short name, whatever its case; none for any other name.

    Examples:
        >>> find("LLaMA2").hub_id
        'meta-llama/Llama-2-7b-hf'
    """
    return next((entry for entry in ENTRIES if entry.name == name.strip().lower()), None)


def by_hub_id(hub_id: str) -> Entry | None:
    """The backbone of a hub name that also has a short one; none for any other name."""
    return next((entry for entry in ENTRIES if entry.hub_id and entry.hub_id.lower() == hub_id.lower()), None)


def nearest(name: str, count: int = 3) -> tuple[str, ...]:
    """Short names that resemble a name, the nearest first.

    Examples:
        >>> nearest("qwen2.5-05b", count=1)
        ('qwen2.5-0.5b',)
    """
    last = name.strip().lower().rstrip("/").rsplit("/", 1)[-1]
    return tuple(difflib.get_close_matches(last, [entry.name for entry in ENTRIES], n=count, cutoff=0.5))


def conversion_sentence(what: str, instead: str | None) -> str:
    """The sentence on a checkpoint whose layout today's transformers cannot read.

    Args:
        what: The checkpoint, as the user knows it.
        instead: Short name of one to take in its place.
    """
    mend = "" if instead is None else f" Take --backbone {instead} instead."
    return (
        f"{what} is a checkpoint in the original layout of 2023, which needs code that today's transformers no "
        f"longer runs; a later release of mse converts it.{mend}"
    )


def describe() -> tuple[Availability, ...]:
    """Every backbone with a short name, and what each needs on this machine. Reaches no network."""
    return tuple(_availability(entry) for entry in ENTRIES)


def _availability(entry: Entry) -> Availability:
    if entry.hub_id is None:
        return Availability(entry, ready=True, needs="")
    if entry.needs_conversion:
        return Availability(entry, ready=False, needs=conversion_sentence(entry.hub_id, entry.instead))

    from mse_pipeline.backbones.hub import download_line, is_cached

    if is_cached(entry.hub_id):
        return Availability(entry, ready=True, needs="")
    account = "Accept its licence on its hub page and log in with `hf auth login`, then d" if entry.gated else "D"
    return Availability(entry, ready=False, needs=f"{account}ownload it: {download_line(entry.hub_id)}.")
