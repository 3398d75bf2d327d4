"""Citing: what a run or a dataset in the cache used, as BibTeX.

The entries are data, `references.bib`; this file says what each dataset, stream, model and backbone cites.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from mse_pipeline import __version__
from mse_pipeline.errors import UsageError, did_you_mean

METHOD, MMSA = "yang2025mseadapter", "mao2022msena"
SOFTWARE = f"""@software{{mse_pipeline,
  title = {{mse-pipeline: multimodal feature extraction and adapter training for emotion and sentiment research}},
  author = {{{{The mse-pipeline developers}}}},
  version = {{{__version__}}},
  year = {{2026}}
}}"""

_OPENSMILE, _TRANSFORMERS = "eyben2010opensmile", "wolf2020transformers"
DATASETS = {
    "meld": ("poria2019meld",),
    "mosei": ("zadeh2018mosei",),
    "mosi": ("zadeh2016mosi",),
    "sims": ("yu2020chsims",),
    "simsv2": ("liu2022chsimsv2",),
    "cherma": ("sun2023lfmim",),
    "iemocap": ("busso2008iemocap",),
    "ravdess": ("livingstone2018ravdess",),
    "grid": ("cooke2006grid",),
}
STREAMS = {
    "acoustic.egemaps": ("eyben2016gemaps", _OPENSMILE),
    "acoustic.opensmile": (_OPENSMILE,),
    "acoustic.librosa": ("mcfee2015librosa",),
    "acoustic.vad": ("silerovad",),
    "acoustic.emotion2vec": ("ma2023emotion2vec",),
    "acoustic.speaker": ("wan2018ge2e",),
    "acoustic.transformers": (_TRANSFORMERS,),
    "visual.mtcnn": ("zhang2016mtcnn",),
    "visual.yunet": ("wu2023yunet",),
    "visual.geometry": ("zhang2016mtcnn",),
    "visual.facenet": ("schroff2015facenet", "cao2018vggface2"),
    "visual.face_mesh": ("kartynnik2019mesh",),
    "visual.action_units": ("cheong2023pyfeat",),
    "visual.timm": ("wightman2019timm",),
    "visual.timm_frame": ("wightman2019timm",),
    "visual.transformers": (_TRANSFORMERS,),
    "visual.transformers_frame": (_TRANSFORMERS,),
    "visual.transformers_clip": (_TRANSFORMERS,),
    "visual.transformers_clip_frame": (_TRANSFORMERS,),
    "text.asr": (_TRANSFORMERS,),
    "text.ctc": (_TRANSFORMERS,),
    "text.transformers": (_TRANSFORMERS,),
}
"""By extractor; those of other packages and imported ones are told as unknown."""

MODELS: Mapping[str, tuple[str, ...]] = {
    "mse-adapter": (METHOD,),
    "mse-adapter-lora": (METHOD, "hu2022lora"),
    "linear": ("pedregosa2011sklearn",),
    "text-only": (),
    "prompt-tuning": ("lester2021prompt",),
    "prefix-tuning": ("li2021prefix",),
    "lora": ("hu2022lora",),
    "lf-dnn": ("yu2020chsims",),
    "tfn": ("zadeh2017tfn",),
    "mult": ("tsai2019mult",),
    "mag-bert": ("rahman2020mag", "devlin2019bert"),
    "lfmim": ("sun2023lfmim",),
    "self-mm": ("yu2021selfmm",),
    "chfn-style": ("guo2022chfn", "devlin2019bert"),
    "unimse-style": ("hu2022unimse", "raffel2020t5"),
    "unisa-finetune": ("li2023unisa", "lewis2020bart"),
}

_BACKBONES = (
    (r"qwen-?2\.5", "qwen2024qwen25"),
    (r"qwen-?3", "qwen2025qwen3"),
    (r"qwen", "bai2023qwen"),
    (r"glm", "glm2024chatglm"),
    (r"llama-?2", "touvron2023llama2"),
    (r"llama-?3", "grattafiori2024llama3"),
    (r"gemma-?2", "gemma2024gemma2"),
    (r"gemma-?3", "gemma2025gemma3"),
    (r"smollm-?2", "allal2025smollm2"),
    (r"phi-?4-mini", "microsoft2025phi4mini"),
)
_NETWORKS = (
    ("wav2vec2", "baevski2020wav2vec"),
    ("hubert", "hsu2021hubert"),
    ("wavlm", "chen2022wavlm"),
    ("whisper", "radford2023whisper"),
    ("clip", "radford2021clip"),
    ("dinov2", "oquab2023dinov2"),
    ("roberta", "liu2019roberta"),
    ("bert", "devlin2019bert"),
)
"""What the name of an extractor's model tells; the first that fits."""

_OPTIONS = {
    ("detector", "mtcnn"): "zhang2016mtcnn",
    ("detector", "yunet"): "wu2023yunet",
    ("identity", "sface"): "zhong2021sface",
}
"""What an option of an extractor adds."""

_NOTHING = {"tiny", "none", "sample", "acoustic.quality", "visual.quality", "text.word_times", "text-only"}
"""What is this package's own, or nobody's."""


@dataclass(frozen=True)
class Used:
    """Something that was used.

    Attributes:
        name: As in ``acoustic.egemaps``.
        kind: dataset, stream, model or backbone.
        keys: Of its entries.
    """

    name: str
    kind: str
    keys: tuple[str, ...]

    @property
    def unknown(self) -> bool:
        """Whether nothing is known to cite for it, though somebody made it."""
        return not self.keys and self.name not in _NOTHING


@cache
def references() -> Mapping[str, str]:
    """The entries by key.

    Examples:
        >>> "Poria" in references()["poria2019meld"]
        True
    """
    text = resources.files("mse_pipeline.citing").joinpath("references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in re.finditer(r"^@\w+\{([^,]+),\n.*?^\}", text, re.DOTALL | re.MULTILINE)}


def of_dataset(name: str, corpus: object, streams: Mapping[str, Mapping[str, Any]]) -> list[Used]:
    """What a dataset in the cache used.

    Args:
        name: Of the dataset.
        corpus: Of which corpus its clips are, by its manifest.
        streams: Identity by stream.
    """
    known = str(corpus) if corpus in DATASETS else name.lower()
    return [Used(known, "dataset", DATASETS.get(known, ())), *(of_stream(*one) for one in streams.items())]


def of_stream(name: str, identity: Mapping[str, Any]) -> Used:
    """What a stream cites, by its identity.

    Examples:
        >>> of_stream("visual.mtcnn", {"stream": "visual.mtcnn", "config": {"detector": "yunet"}}).keys
        ('wu2023yunet',)
    """
    config = identity.get("config")
    options: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    imported = identity.get("imported")
    if isinstance(imported, Mapping):
        return Used(name, "stream", (MMSA,) if imported.get("format") == "mmsa" else ())
    keys = list(STREAMS.get(str(identity.get("stream", name)), ()))
    added = [key for (option, value), key in _OPTIONS.items() if options.get(option) == value]
    if "wu2023yunet" in added and "zhang2016mtcnn" in keys:
        keys.remove("zhang2016mtcnn")  # the other detector took its place
    if "egemaps" in str(options.get("set", "")).lower():
        keys.insert(0, "eyben2016gemaps")
    model = str(options.get("model", "")).lower().rstrip("/").rsplit("/", 1)[-1]
    added += [key for word, key in _NETWORKS if word in model][:1]
    return Used(name, "stream", tuple(dict.fromkeys([*keys, *added])))


def of_backbone(name: str) -> Used:
    """What a backbone cites, by its name or folder.

    Examples:
        >>> of_backbone("meta-llama/Llama-2-7b-hf").keys, of_backbone("tiny").unknown
        (('touvron2023llama2',), False)
    """
    last = name.lower().rstrip("/").rsplit("/", 1)[-1]
    keys = [key for pattern, key in _BACKBONES if re.search(pattern, last)][:1]
    return Used(last, "backbone", tuple(keys))


def of_run(run: Mapping[str, Any]) -> list[Used]:
    """What a training used.

    Args:
        run: The run's description, as ``run.json`` has it.
    """
    config = run.get("config")
    about: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    streams, corpus = {}, None
    for stream in [*(about.get("streams") or {}).values(), about.get("words")]:
        if isinstance(stream, Mapping) and isinstance(identity := stream.get("identity"), Mapping):
            streams[str(stream.get("name"))] = identity
            imported = identity.get("imported")
            corpus = imported.get("corpus") if isinstance(imported, Mapping) else corpus
    model = str(run.get("model", "mse-adapter"))
    used = [Used(model, "model", MODELS.get(model, ())), *of_dataset(str(run.get("dataset", "")), corpus, streams)]
    return [*used, of_backbone(str(run["backbone"]))] if run.get("backbone") else used


def of_name(name: str) -> Used:
    """What a dataset, stream, model or backbone of this name cites.

    Raises:
        UsageError: Nothing of this name is known.
    """
    tables: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...] = (
        ("dataset", DATASETS),
        ("stream", STREAMS),
        ("model", MODELS),
    )
    for kind, table in tables:
        if name in table:
            return Used(name, kind, table[name])
    backbone = of_backbone(name)
    if backbone.unknown:
        known = [one for _, table in tables for one in table]
        raise UsageError(
            f"{name} is no run folder and no dataset in the cache, and nothing is known to cite for "
            f"it{did_you_mean(name, known) or '; known are ' + ', '.join(known) + '.'}"
        )
    return backbone


def bibtex(used: Iterable[Used]) -> Iterator[str]:
    """The entries of what was used, each once and under what it is for, and that of this software last."""
    reasons: dict[str, list[str]] = {}
    for one in used:
        for key in one.keys:
            reasons.setdefault(key, [])
            if one.name not in reasons[key]:
                reasons[key].append(one.name)
    for key, names in reasons.items():
        yield f"% {', '.join(' '.join(name.split()) for name in names)}\n{references()[key]}"
    yield f"% this software\n{SOFTWARE}"
