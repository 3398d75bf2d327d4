"""Published rows: what others report on a dataset, from `published.json`, each with its source.

A two-class figure whose kind (Has0 or Non0) its source does not tell is in no row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from mse_pipeline.metrics import ERRORS


@dataclass(frozen=True)
class PublishedRow:
    """One row of somebody's table.

    Attributes:
        dataset: As in ``mosei``.
        system: As in ``MSE-Adapter, Qwen-1.8B``.
        source: Who says so, in a word or two.
        key: Of the source in ``published.json``, to cite it by.
        citation: Where exactly.
        url: Where to look; None if there is no stable address.
        own: Whether its authors ran it and published every seed: the method that this project trains.
        seeds: How many; None if not told.
        mean: Metric -> value, in the scale of `metrics.evaluate` (fractions; errors in label units).
        sd: Metric -> sample standard deviation over seeds, where it is known.
        note: What a reader must know before comparing.
    """

    dataset: str
    system: str
    source: str
    key: str
    citation: str
    url: str | None
    own: bool
    seeds: int | None
    mean: Mapping[str, float]
    sd: Mapping[str, float]
    note: str | None

    @property
    def further(self) -> bool:
        """Whether it is of the method's authors, but none of their paper's runs: a sweep, or a part of the data."""
        return self.key == "authors-other"


def published(dataset: str) -> tuple[PublishedRow, ...]:
    """What was published on a dataset: the method's own seeds first; nothing for a dataset of one's own.

    Examples:
        >>> published("meld")[1].system, published("meld")[1].mean["weight_F1"]
        ('MSE-Adapter, ChatGLM3-6B', 0.6513)
        >>> published("sample")
        ()
    """
    return tuple(row for row in _all() if row.dataset == dataset)


@cache
def _all() -> tuple[PublishedRow, ...]:
    stored = json.loads(resources.files("mse_pipeline.report").joinpath("published.json").read_text("utf-8"))
    return tuple(_row(row, stored["sources"][row["source"]]) for row in stored["rows"])


def _row(row: Mapping[str, Any], source: Mapping[str, Any]) -> PublishedRow:
    mean, sd = {}, {}
    for name, printed in row["metrics"].items():
        values = printed if isinstance(printed, list) else [printed]
        # Six decimals are what two of a percentage and four of an error need; they keep 65.13 from being .65129999.
        scaled = [value if name in ERRORS else round(value / 100, 6) for value in values]
        mean[name] = scaled[0]
        if len(scaled) == 2:
            sd[name] = scaled[1]
    return PublishedRow(
        dataset=row["dataset"],
        system=f"{row['system']}, {row['backbone']}" if "backbone" in row else row["system"],
        source=source["label"],
        key=row["source"],
        citation=source["citation"],
        url=source["url"],
        own=row["source"] == "authors",
        seeds=row.get("seeds"),
        mean=mean,
        sd=sd,
        note=row.get("note"),
    )
