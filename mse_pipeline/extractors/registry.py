"""Registry: which extractors there are, and how one is made from a recipe's options."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mse_pipeline.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """What is told of an extractor without loading it.

    Attributes:
        module: Where its class is.
        class_name: The class.
        dim: Number of values a row; None where the model that is chosen decides.
        summary: What the values are, in a line.
        licence: Licence of the model or tool that makes them.
        needs: What must be fetched to use it; empty where nothing.
    """

    module: str
    class_name: str
    dim: int | None
    summary: str
    licence: str
    needs: str = ""

    def load(self) -> Any:
        """The extractor's class. Light: the libraries behind it are imported when it first runs."""
        return getattr(import_module(self.module), self.class_name)


_ACOUSTIC = "mse_pipeline.extractors.acoustic"
_VISUAL = "mse_pipeline.extractors.visual"
_TEXT = "mse_pipeline.extractors.text"
_ANY_MODEL = "a model as option `model`: a folder, or a hub name that is downloaded once"
_ITS_OWN = "that of the chosen model"
_ENTRIES = {
    "acoustic.egemaps": Entry(
        f"{_ACOUSTIC}.egemaps",
        "Egemaps",
        25,
        "eGeMAPSv02 low-level descriptors (openSMILE), every 10 ms",
        "openSMILE: free for research and personal use only",
    ),
    "acoustic.librosa": Entry(
        f"{_ACOUSTIC}.librosa_set",
        "LibrosaSet",
        33,
        "zero crossing rate 1, MFCC 20, chroma CQT 12 (librosa), every 32 ms",
        "ISC",
    ),
    "visual.mtcnn": Entry(
        f"{_VISUAL}.mtcnn",
        "Mtcnn",
        271,
        "face box, probability, five landmarks and O-Net's 256 activations (MTCNN), 5 rows a second",
        "MIT; its weights come with facenet-pytorch",
    ),
    "visual.facenet": Entry(
        f"{_VISUAL}.facenet",
        "Facenet",
        512,
        "face embedding of InceptionResnetV1 trained on VGGFace2, 5 rows a second",
        "MIT; VGGFace2 is for non-commercial research",
        "20180402-114759-vggface2.pt (112 MB), downloaded once or given as option `weights`",
    ),
    "text.ctc": Entry(
        f"{_TEXT}.ctc",
        "Ctc",
        1,
        "when each word of the transcript is said, by forced alignment with a CTC model of transformers",
        "the model's own; the default's is Apache-2.0",
        "a CTC model of the language that is spoken; the default, for English, is downloaded once (378 MB)",
    ),
    "text.word_times": Entry(
        f"{_TEXT}.word_times",
        "WordTimes",
        1,
        "when each word is said, from TextGrid, CTM, CSV, JSON, .align or .csd files",
        "none: the files' own",
        "files of word times beside the corpus; where they are is option `path`",
    "acoustic.transformers": Entry(
        f"{_ACOUSTIC}.transformers",
        "AcousticTransformers",
        None,
        "hidden states of a speech encoder (wav2vec 2.0, HuBERT, WavLM, data2vec, Whisper), every 20 ms",
        _ITS_OWN,
        _ANY_MODEL,
    ),
    "visual.transformers": Entry(
        f"{_VISUAL}.transformers",
        "VisualTransformers",
        None,
        "the followed face through a vision encoder (CLIP, DINOv2, ViT), 5 rows a second",
        _ITS_OWN,
        _ANY_MODEL,
    ),
    "visual.transformers_frame": Entry(
        f"{_VISUAL}.transformers",
        "VisualTransformersFrame",
        None,
        "whole frames through a vision encoder (CLIP, DINOv2, ViT), 5 rows a second",
        _ITS_OWN,
        _ANY_MODEL,
    ),
    "text.transformers": Entry(
        f"{_TEXT}.transformers",
        "TextTransformers",
        None,
        "hidden states of a text encoder or language model (BERT, RoBERTa, LLaMA), a row a token",
        _ITS_OWN,
        _ANY_MODEL,
    ),
}


def available() -> dict[str, Entry]:
    """The extractors by stream name.

    Examples:
        >>> {"acoustic.egemaps", "text.transformers", "visual.mtcnn"} <= set(available())
        True
    """
    return dict(_ENTRIES)


def create(stream: str, options: Mapping[str, Any] | None = None) -> Any:
    """Make an extractor. Cheap: no model is loaded yet.

    Args:
        stream: The stream's name.
        options: Its options, as a recipe gives them. ``extractor`` among them names the extractor where the stream
            has a name of its own, so that one recipe may use an extractor several times.

    Returns:
        An `Extractor`.

    Raises:
        UsageError: Unknown stream, or options that are unknown or of a wrong type, all told at once.

    Examples:
        >>> create("acoustic.librosa", {"hop_length": 256}).config.hop_length
        256
        >>> create("acoustic.fast", {"extractor": "acoustic.librosa", "hop_length": 128}).stream
        'acoustic.librosa'
        >>> create("acoustic.egemap")
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: There is no extractor acoustic.egemap; did you mean acoustic.egemaps?
    """
    problems = check({stream: options})
    name, settings = _named(stream, options)
    if problems:
        if name not in _ENTRIES:
            raise UsageError(problems[0][1])
        told = "; ".join(f"{path}: {message}" for path, message in problems)
        raise UsageError(f"The options of {stream} cannot be used: {told}")
    extractor = _ENTRIES[name].load()
    return extractor(_validated(extractor.Config, settings))


def check(options_by_stream: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, str]]:
    """All that is wrong with a recipe's streams and their options.

    Args:
        options_by_stream: Options, or None, by stream name.

    Returns:
        (path, message) of each problem, the path as in ``acoustic.egemaps.hop``; empty where all is well.

    Examples:
        >>> check({"acoustic.librosa": {"hop_lenght": 256}})
        [('acoustic.librosa.hop_lenght', 'There is no such option; did you mean hop_length?')]
    """
    from pydantic import ValidationError

    problems: list[tuple[str, str]] = []
    for stream, options in options_by_stream.items():
        if options is not None and not isinstance(options, Mapping):
            problems.append((stream, f"Options are names with values, but this is {options!r}."))
            continue
        name, settings = _named(str(stream), options)
        if name not in _ENTRIES:
            problems.append((str(stream), f"There is no extractor {name}; {_nearest(name, _ENTRIES)}"))
        elif name.partition(".")[0] != stream.partition(".")[0]:
            problems.append((f"{stream}.extractor", f"{name} cannot make a {stream.partition('.')[0]} stream."))
        else:
            config = _ENTRIES[name].load().Config
            try:
                _validated(config, settings)
            except ValidationError as error:
                problems += [_problem(stream, config, detail) for detail in error.errors()]
    return problems


def _named(stream: str, options: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The extractor that a stream is made by, and its options without that name."""
    settings = {str(key): value for key, value in (options or {}).items()}
    return str(settings.pop("extractor", stream)), settings


def _validated(config: type[Any], options: Mapping[str, Any] | None) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(config).validate_python(dict(options or {}))


def _problem(stream: str, config: type[Any], detail: Any) -> tuple[str, str]:
    """One of pydantic's errors as a path and a sentence."""
    path = ".".join([stream, *map(str, detail["loc"])])
    if detail["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return path, f"There is no such option; {_nearest(str(detail['loc'][-1]), config.__dataclass_fields__)}"
    return path, f"{detail['msg']}, got {detail['input']!r}."


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there is {', '.join(sorted(known))}." if list(known) else "it has none."
