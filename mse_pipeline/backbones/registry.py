"""Short names of backbones, as data: `mse train --backbone qwen2.5-0.5b` instead of a hub name.

Checkpoints from the hub are fetched into its cache once; then they are folders like any other.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.errors import UsageError
from mse_pipeline.model_files import CONFIG, OTHER_COPIES, PICKLED_WEIGHTS, SAFE_WEIGHTS, TOKENIZER_FILES

TINY = "tiny"
"""Short name of the built-in backbone."""


@dataclass(frozen=True)
class BackboneEntry:
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
        revision: Branch, tag or commit that is taken; None for the newest.
    """

    name: str
    hub_id: str | None
    hidden_size: int
    parameters: int
    licence: str
    languages: tuple[str, ...]
    family: str
    gated: bool = False
    revision: str | None = None

    @property
    def gigabytes(self) -> float:
        """Size of its weights in half precision, in 10**9 bytes: what a download is, and what memory it takes."""
        return 2 * self.parameters / 1e9


@dataclass(frozen=True)
class Availability:
    """Whether a backbone can be loaded on this machine as it is.

    Attributes:
        entry: The backbone.
        ready: Whether `backbones.load` would find it without a download.
        needs: What is missing, as a sentence with the line that mends it; empty where nothing is.
    """

    entry: BackboneEntry
    ready: bool
    needs: str


_ZH_EN, _EN = ("zh", "en"), ("en",)


def _llama3(name: str, hub_id: str, hidden_size: int, parameters: int, licence: str) -> BackboneEntry:
    languages = ("en", "de", "fr", "it", "pt", "hi", "es", "th")
    return BackboneEntry(name, hub_id, hidden_size, parameters, licence, languages, "llama", gated=True)


ENTRIES: tuple[BackboneEntry, ...] = (
    BackboneEntry(TINY, None, 128, 492_160, "Apache-2.0", _EN, "built-in"),
    # The three of the paper (arXiv 2502.12478).
    BackboneEntry("qwen", "Qwen/Qwen-1_8B", 2048, 1_836_828_672, "Tongyi Qianwen Research", _ZH_EN, "qwen2"),
    BackboneEntry("chatglm3", "zai-org/chatglm3-6b-base", 4096, 6_243_584_000, "ChatGLM3-6B", _ZH_EN, "glm"),
    BackboneEntry("llama2", "meta-llama/Llama-2-7b-hf", 4096, 6_738_415_616, "Llama 2", _EN, "llama", gated=True),
    # Of their families.
    BackboneEntry("qwen-7b", "Qwen/Qwen-7B", 4096, 7_721_324_544, "Tongyi Qianwen", _ZH_EN, "qwen2"),
    BackboneEntry("chatglm2", "zai-org/chatglm2-6b", 4096, 6_243_584_000, "ChatGLM2-6B", _ZH_EN, "glm"),
    BackboneEntry("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 896, 494_032_768, "Apache-2.0", _ZH_EN, "qwen2"),
    BackboneEntry("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B", 1536, 1_543_714_304, "Apache-2.0", _ZH_EN, "qwen2"),
    BackboneEntry("qwen2.5-7b", "Qwen/Qwen2.5-7B", 3584, 7_615_616_512, "Apache-2.0", _ZH_EN, "qwen2"),
    BackboneEntry("qwen3-0.6b", "Qwen/Qwen3-0.6B", 1024, 596_049_920, "Apache-2.0", _ZH_EN, "qwen3"),
    BackboneEntry("qwen3-1.7b", "Qwen/Qwen3-1.7B", 2048, 1_720_574_976, "Apache-2.0", _ZH_EN, "qwen3"),
    BackboneEntry("qwen3-4b", "Qwen/Qwen3-4B", 2560, 4_022_468_096, "Apache-2.0", _ZH_EN, "qwen3"),
    BackboneEntry("qwen3-8b", "Qwen/Qwen3-8B", 4096, 8_190_735_360, "Apache-2.0", _ZH_EN, "qwen3"),
    _llama3("llama3.2-1b", "meta-llama/Llama-3.2-1B", 2048, 1_235_814_400, "Llama 3.2"),
    _llama3("llama3.2-3b", "meta-llama/Llama-3.2-3B", 3072, 3_212_749_824, "Llama 3.2"),
    _llama3("llama3.1-8b", "meta-llama/Llama-3.1-8B", 4096, 8_030_261_248, "Llama 3.1"),
    BackboneEntry("gemma2-2b", "google/gemma-2-2b", 2304, 2_614_341_888, "Gemma", _EN, "gemma2", gated=True),
    BackboneEntry(
        "gemma3-270m", "google/gemma-3-270m", 640, 268_098_176, "Gemma", ("en", "zh"), "gemma3_text", gated=True
    ),
    BackboneEntry("gemma3-1b", "google/gemma-3-1b-pt", 1152, 999_885_952, "Gemma", _EN, "gemma3_text", gated=True),
    BackboneEntry("phi4-mini", "microsoft/Phi-4-mini-instruct", 3072, 3_836_021_760, "MIT", _EN, "phi3"),
    BackboneEntry("smollm2-135m", "HuggingFaceTB/SmolLM2-135M", 576, 134_515_008, "Apache-2.0", _EN, "llama"),
    BackboneEntry("smollm2-360m", "HuggingFaceTB/SmolLM2-360M", 960, 361_821_120, "Apache-2.0", _EN, "llama"),
    BackboneEntry("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B", 2048, 1_711_376_384, "Apache-2.0", _EN, "llama"),
    BackboneEntry("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", 2048, 3_075_098_624, "Apache-2.0", _EN, "smollm3"),
    BackboneEntry("glm-4-9b", "zai-org/glm-4-9b-hf", 4096, 9_399_951_360, "GLM-4", _ZH_EN, "glm"),
    BackboneEntry("glm-4-9b-0414", "zai-org/GLM-4-9B-0414", 4096, 9_400_279_040, "MIT", _ZH_EN, "glm4"),
)
"""Every short name, the built-in one and the paper's three first."""


def find(name: str) -> BackboneEntry | None:
    """The backbone of a short name, whatever its case; none for any other name.

    Examples:
        >>> find("LLaMA2").hub_id
        'meta-llama/Llama-2-7b-hf'
    """
    return next((entry for entry in ENTRIES if entry.name == name.strip().lower()), None)


def by_hub_id(hub_id: str) -> BackboneEntry | None:
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


def describe() -> tuple[Availability, ...]:
    """Every backbone with a short name, and what each needs on this machine. Reaches no network."""
    return tuple(_availability(entry) for entry in ENTRIES)


def _availability(entry: BackboneEntry) -> Availability:
    if entry.hub_id is None:
        return Availability(entry, ready=True, needs="")

    if is_cached(entry.hub_id, entry.revision):
        return Availability(entry, ready=True, needs="")
    account = "Accept its licence on its hub page and log in with `hf auth login`, then d" if entry.gated else "D"
    return Availability(entry, ready=False, needs=f"{account}ownload it: {download_line(entry.hub_id)}.")


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


def file_on_hub(name: str) -> tuple[str, str] | None:
    """Repository and file of a GGUF file's name on the hub; None for any other name.

    Examples:
        >>> file_on_hub("bartowski/gemma-2-2b-it-GGUF:gemma-2-2b-it-Q4_K_M.gguf")
        ('bartowski/gemma-2-2b-it-GGUF', 'gemma-2-2b-it-Q4_K_M.gguf')
    """
    repository, _, file = name.partition(":")
    return (repository, file) if file.lower().endswith(".gguf") else None


def fetch_file(name: str, asked: str, file: str, revision: str | None = None) -> Path:
    """Fetch one file of a repository, as a GGUF file, which has weights, configuration and tokenizer in it.

    Args, Returns and Raises: those of `fetch_config`; what is returned is the file.
    """
    path = _fetch(name, asked, (file,), revision) / file
    if not path.is_file():
        raise UsageError(
            f"The repository {name} has no file {file!r} at its top, or it was never fetched: look for its name on the "
            f"hub's page, or run `hf download {name} {file} --local-dir DIR`, then `--backbone DIR/{file}`."
        )
    return path


def is_cached(name: str, revision: str | None = None) -> bool:
    """Whether the hub's cache holds weights and configuration of a repository. Reaches no network."""
    return cached_folder(name, revision) is not None


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder in the hub's cache that holds weights and configuration of a repository; None where there is none.

    Of a GGUF file's name it is the file. Reaches no network.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    named = file_on_hub(name)
    repository, file = named or (name, CONFIG)
    try:
        config = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    if named is not None:
        return Path(config)
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
    if by_hub_id(name) is None and "/" not in name:
        return unknown_sentence(asked, f"nor in the hub's cache, and {why}")
    known = by_hub_id(name)
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
    near = nearest(asked)
    names = ", ".join(near or (entry.name for entry in ENTRIES))
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"Backbone {asked!r} is neither a short name nor a folder, {last}: take one of {names}, or a folder{meant}."


def _or_nearest(asked: str) -> str:
    near = [] if find(asked) or by_hub_id(asked) else nearest(asked)
    return f"; short names like it: {', '.join(near)}" if near else ""
