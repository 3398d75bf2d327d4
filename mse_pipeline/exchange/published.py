"""Feature files that were published, by the digest of their bytes.

Digests are those that MMSA (github.com/thuiar/MMSA) and the authors of MSE-Adapter (Hugging Face, AZYoung) give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mse_pipeline.clip import Split

_TRAIN, _VALID, _TEST = Split


@dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
        name: How its publishers call it.
        corpus: Name of the corpus.
        digest: SHA-256, hex; of two files only the first eight digits are known.
        counts: Clips a split.
    """

    name: str
    corpus: str
    digest: str
    counts: Mapping[Split, int]


_MOSI = {_TRAIN: 1284, _VALID: 229, _TEST: 686}
_MOSEI = {_TRAIN: 16326, _VALID: 1871, _TEST: 4659}
_SIMS = {_TRAIN: 1368, _VALID: 456, _TEST: 457}
_SIMSV2 = {_TRAIN: 2722, _VALID: 647, _TEST: 1034}

PUBLISHED = (
    Published("MMSA MOSI unaligned_50.pkl", "mosi", "78e0f8b5", _MOSI),
    Published("MMSA MOSI aligned_50.pkl", "mosi", "d3994fd2", _MOSI),
    Published(
        "MMSA MOSEI unaligned_50.pkl",
        "mosei",
        "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f",
        _MOSEI,
    ),
    Published(
        "MMSA MOSEI aligned_50.pkl",
        "mosei",
        "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791",
        _MOSEI,
    ),
    Published(
        "MMSA SIMS unaligned_39.pkl",
        "sims",
        "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f",
        _SIMS,
    ),
    Published(
        "CH-SIMS v2 ch-simsv2s.pkl",
        "simsv2",
        "f8fd9a1dd070588a714ff357b00f31d5bb93277b4e502cf2dc4ff718a95fc49b",
        _SIMSV2,
    ),
)


def recognise(digest: str) -> Published | None:
    """The published file that has this digest.

    Args:
        digest: SHA-256, hex.

    Examples:
        >>> recognise("45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791").name
        'MMSA MOSEI aligned_50.pkl'
        >>> recognise("0" * 64) is None
        True
    """
    return next((one for one in PUBLISHED if digest.startswith(one.digest)), None)


def by_counts(counts: Mapping[Split, int]) -> str | None:
    """The corpus that has these numbers of clips a split.

    Examples:
        >>> by_counts({Split.TRAIN: 1284, Split.VALID: 229, Split.TEST: 686})
        'mosi'
    """
    return next((one.corpus for one in PUBLISHED if dict(one.counts) == dict(counts)), None)
