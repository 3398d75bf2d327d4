"""Extractor: a small frozen configuration and a class with a name; media in, Features out."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

if TYPE_CHECKING:
    from pathlib import Path

    from mse_pipeline.clip import Clip
    from mse_pipeline.extractors.visual.faces import FaceConfig, FaceMeasure, Faces
    from mse_pipeline.extractors.visual.onnx import Export
    from mse_pipeline.extractors.visual.whole import FrameConfig, Frames
    from mse_pipeline.media.frames import FrameBatch

C = TypeVar("C")

_LATER = {"decoding": "full"}
"""Options that keys of earlier versions do not hold, with the value at which those keys still hold."""


class Extractor(ABC, Generic[C]):
    """One way of turning a modality of a clip into features.

    To create one is cheap; its model is loaded by `load` or at the first call, once a process.

    Attributes:
        modality: "acoustic", "visual" or "text".
        name: Name within the modality.
        revision: Raised whenever the same configuration gives other values.
        Config: Frozen dataclass of its options; unknown options are errors.
        not_values: Options that do not change the values, such as paths.
        reads_media: Whether the values depend on the clip's media file.
        reads_text: Whether the values depend on the clip's text.
        follows_face: Whether it follows one of the faces.
        reads_span: Whether the values depend on the clip's span in its media file, although the file is not opened.
        tried: Whether the user chooses its model, which is then tried on a made input before any clip (`trial`).

    Args:
        config: Its options; None for the defaults.
    """

    modality: ClassVar[Literal["acoustic", "visual", "text"]]
    name: ClassVar[str]
    revision: ClassVar[int]
    Config: ClassVar[type[Any]]
    not_values: ClassVar[frozenset[str]] = frozenset()
    reads_media: ClassVar[bool] = True
    reads_text: ClassVar[bool] = False
    follows_face: ClassVar[bool] = False
    reads_span: ClassVar[bool] = False
    tried: ClassVar[bool] = False

    def __init__(self, config: C | None = None) -> None:
        self.config: C = self.Config() if config is None else config
        self.device = "cpu"

    @property
    def stream(self) -> str:
        """Name of the stream that it makes, as in ``acoustic.egemaps``."""
        return f"{self.modality}.{self.name}"

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the D dimensions."""

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the D dimensions, as in ``Hz``; empty where a value has none."""
        return ("",) * len(self.names)

    @property
    def definitions(self) -> tuple[str, ...]:
        """What each of the D dimensions is, in a line; empty where its name says it."""
        return ("",) * len(self.names)

    @property
    def step(self) -> float | None:
        """Seconds from one row to the next; None if rows have no fixed distance."""
        return None

    def load(self, device: str = "cpu") -> None:
        """Load the model, if there is one, on a torch device, and use that device from now on.

        Raises:
            MseError: A model is missing and cannot be downloaded; the message says which file to put where.
        """
        self.device = str(device)

    def unload(self) -> None:
        """Give up the model's memory, where it holds much; it is loaded again at the next call."""

    def exports(self) -> tuple[Export, ...]:
        """The networks that it runs without torch on the CPU; each is exported once on a machine."""
        return ()

    def takes(self) -> str:
        """Which models it takes, as a sentence for errors; empty where there is nothing to choose."""
        return ""

    def model_digest(self) -> str | None:
        """Digest of the weights' content; None for an extractor without any."""
        return None

    def files_digest(self, root: Path) -> str | None:
        """Digest of files of the corpus, other than media, that the values depend on; None if there are none.

        Args:
            root: The folder of the corpus's raw files.

        Raises:
            UsageError: There are no such files.
        """
        return None

    def settled(self) -> dict[str, Any]:
        """Open options that the files of this machine decide; other machines must use the same."""
        return {}

    def instead(self) -> tuple[str, ...]:
        """Sentences that say what is done instead, if optional files such as weights are missing."""
        return ()

    def identity(self) -> dict[str, Any]:
        """All that changes the values, and nothing else, as plain JSON; the cache's keys are made from it."""
        return {
            "stream": self.stream,
            "revision": self.revision,
            "config": {
                k: v for k, v in _plain(self.config).items() if k not in self.not_values and _LATER.get(k, ...) != v
            },
            "model": self.model_digest(),
        }


class AudioExtractor(Extractor[C]):
    """Makes features of a clip's sound."""

    modality = "acoustic"

    @abstractmethod
    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            Features with intervals from 0 to the sound's end, without a gap.

        Raises:
            ClipError: `too_short`.
        """


class FaceExtractor(Extractor[C]):
    """Makes features of the face that was followed through a clip.

    Attributes:
        keeps_pictures: Whether it reads the patches or crops of the faces, which are else not kept.
    """

    modality = "visual"
    follows_face = True
    keeps_pictures: ClassVar[bool] = True

    def __init__(self, config: C | None = None) -> None:
        super().__init__(config)
        self._asked = self.config
        self.config = _settled(self.config)

    def load(self, device: str = "cpu") -> None:
        """Load the networks that find faces.

        Raises:
            MseError: Weights are missing and cannot be downloaded.
        """
        super().load(device)
        self.face.settled().load(self.device)

    def settled(self) -> dict[str, Any]:
        """Which detector finds faces, and what recognises them."""
        if self.config is self._asked:
            return {}
        return {name: getattr(self.config, name) for name in ("detector", "identity")}

    def instead(self) -> tuple[str, ...]:
        """Sentences that say how faces are found and recognised, if the best weights are missing."""
        return self._asked.instead() if hasattr(self._asked, "instead") else ()

    def exports(self) -> tuple[Export, ...]:
        """The networks that find faces."""
        return self.face.settled().exports()

    @property
    @abstractmethod
    def face(self) -> FaceConfig:
        """How faces are found; extractors with the same settings share one search."""

    @property
    def measures(self) -> tuple[FaceMeasure, ...]:
        """What it wants measured of every face while frames pass."""
        return ()

    @property
    def step(self) -> float | None:
        """Seconds from one sampled frame to the next."""
        return 1.0 / self.face.rate

    @abstractmethod
    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The faces that `FaceSession` found in the clip with the settings `face`.

        Returns:
            Features with one row a sampled frame; rows without a face are zero and not valid.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """


class FrameExtractor(Extractor[C]):
    """Makes features of whole frames."""

    modality = "visual"

    @property
    @abstractmethod
    def frames(self) -> FrameConfig:
        """Which frames it looks at, and how large; extractors with the same settings share them."""

    @property
    def step(self) -> float | None:
        """Seconds from one sampled frame to the next."""
        return 1.0 / self.frames.rate

    @abstractmethod
    def __call__(self, frames: Frames) -> Features:
        """Extract.

        Args:
            frames: The clip's sampled frames.

        Returns:
            Features with one row a sampled frame.
        """


class FrameStream(Protocol):
    """The features of one clip, while they are made of its frames."""

    def add(self, batch: FrameBatch) -> None:
        """Take some more frames, in the order of time."""

    def finish(self) -> Features:
        """The features of all frames that were added.

        Raises:
            ClipError: `no_video` where there was none.
        """


class StreamedExtractor(Extractor[C]):
    """Makes features of whole frames while they are decoded: those of a long clip are never in memory together."""

    modality = "visual"

    @property
    @abstractmethod
    def frames(self) -> FrameConfig:
        """Which frames it looks at, and how large."""

    @abstractmethod
    def begin(self) -> FrameStream:
        """Begin a clip."""


class TextExtractor(Extractor[C]):
    """Makes features of a clip's text, or of other files about it; its media file is not opened."""

    modality = "text"
    reads_media = False
    reads_text = True

    @abstractmethod
    def __call__(self, clip: Clip, root: Path) -> Features:
        """Extract.

        Args:
            clip: The clip, with its text and language.
            root: The folder of the corpus's raw files.

        Returns:
            Features with one row a token or word; intervals are NaN where no time is known. The notes say which
            token a row is (``tokens``) and where it stands in the text (``spans``).

        Raises:
            ClipError: The text cannot be used.
        """


class SpokenTextExtractor(Extractor[C]):
    """Makes features of a clip's text together with its sound."""

    modality = "text"
    reads_text = True

    @abstractmethod
    def __call__(self, clip: Clip, audio: Audio) -> Features:
        """Extract.

        Args:
            clip: The clip, with its text and language.
            audio: The clip's sound.

        Returns:
            Features with one row a token or word, as a `TextExtractor` gives them.

        Raises:
            ClipError: The text or the sound cannot be used.
        """


def _settled(config: Any) -> Any:
    """A configuration of faces with all open options decided; any other configuration as it is."""
    from mse_pipeline.extractors.visual.faces import FaceConfig

    return config.settled() if isinstance(config, FaceConfig) else config


def _plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON values, the same as after reading it from the cache."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
