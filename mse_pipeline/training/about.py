"""About: the form of what a run says of itself, as `mse_pipeline.training.job.prepare` gathers it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mse_pipeline.recipe import Training
from mse_pipeline.recipe.schema import (
    Alignment,
    ClassificationSection,
    PromptSection,
    RegressionSection,
    StreamName,
)

OF_THE_DATASET = frozenset({"files", "content", "imported"})
"""Parts of a stream's identity that tell whose the values are, not what they are."""


class _Section(BaseModel):
    """Base of what is read; keys of later versions are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StreamAbout(_Section):
    """A stream as the run was trained on it.

    Attributes:
        name: As in ``acoustic.egemaps``.
        version: Its id in the cache.
        alignment: The clock that its rows were put on.
        identity: All that its values depend on, as the cache's manifest had it.
        names: Of its D dimensions on that clock; empty for a stream of words, which is not read itself.
    """

    name: StreamName
    version: str
    alignment: Alignment
    identity: dict[str, Any]
    names: tuple[str, ...] = ()

    @property
    def extracted(self) -> bool:
        """Whether an extractor made it, and not someone else's program."""
        return isinstance(self.identity.get("stream"), str) and isinstance(self.identity.get("config"), dict)


class BackboneAbout(_Section):
    """The frozen model: what the user called it, where it came from, and the SHA-256 of all its weights."""

    name: str
    source: str
    revision: str | None
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    dtype: Literal["float32", "float16", "bfloat16"]
    quantization: Literal["4bit", "8bit"] | None = None


class MediaAbout(_Section):
    """How media were decoded: longer clips were cut to their first `max_seconds`; None for no limit."""

    max_seconds: Annotated[float, Field(gt=0)] | None


class PromptAbout(PromptSection):
    """How the backbone was asked; the question is written out."""

    task: str


class About(_Section):
    """What `mse_pipeline.training.job.prepare` gathered; see there. `data` is empty in runs of earlier versions."""

    dataset: str
    variant: str = ""
    backbone: BackboneAbout
    task: Annotated[ClassificationSection | RegressionSection, Field(discriminator="kind")]
    streams: dict[Literal["acoustic", "visual"], StreamAbout | None]
    words: StreamAbout | None
    media: MediaAbout
    prompt: PromptAbout
    training: Training
    data: dict[str, str] = Field(default_factory=dict)
