"""Packages that bring extractors, as an installer would leave them on disk."""

from __future__ import annotations

from pathlib import Path

LOUDNESS = '''
from dataclasses import dataclass

import numpy as np

from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.store.features import Features


@dataclass(frozen=True)
class LoudnessConfig:
    """Options of `Loudness`.

    Attributes:
        hop: Seconds from one row to the next.
    """

    hop: float = 0.1


class Loudness(AudioExtractor[LoudnessConfig]):
    """Stream ``acoustic.loudness``: the level of the sound."""

    name, revision, Config = "loudness", 1, LoudnessConfig
    names, units = ("level",), ("dB",)

    @property
    def step(self):
        return self.config.hop

    def __call__(self, audio):
        hop = int(self.config.hop * audio.rate)
        rows = [audio.samples[i : i + hop] for i in range(0, len(audio.samples), hop)]
        values = [[10 * np.log10(np.mean(row**2) + 1e-10)] for row in rows]
        starts = np.arange(len(rows)) * self.config.hop
        intervals = np.stack([starts, np.append(starts[1:], audio.duration)], 1)
        return Features(values, intervals, np.ones(len(rows), bool), self.names)
'''


def install(
    site: Path,
    package: str,
    entry_points: dict[str, str],
    code: str = "",
    licence: str = "MIT",
    group: str = "mse_pipeline.extractors",
) -> None:
    """Leave a package of one module, with its metadata, in a folder of installed packages."""
    module = package.replace("-", "_")
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {package}\nVersion: 1.0\nSummary: Says what {package} is for\n"
        f"License-Expression: {licence}\n",
        encoding="utf-8",
    )
    lines = [f"{name} = {place}" for name, place in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]), encoding="utf-8")
