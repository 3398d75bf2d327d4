"""linear: ridge regression of numbers and logistic regression of classes, the floor that any other model has to beat.

A clip is one vector: of each stream the functionals of each value over its rows (mean, standard deviation and the
quantiles .1, .25, .5, .75, .9 of what is defined), scaled by the train split, and by the root of their number, so that
each stream is about as large as the text beside it; and TF-IDF of its text (words and word
pairs; of Chinese, sequences of one to three characters; 1 + log tf, as of Salton and Buckley 1988). Ridge (Hoerl and
Kennard 1970) and logistic regression are scikit-learn's; their penalty, one for all weights, is chosen on the valid
split by the metric that chooses epochs elsewhere.

It is fitted in seconds on a CPU. What it learns is kept as numbers, and the terms in the configuration: no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from mse_pipeline import metrics
from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.backbones.answers import answer_values
from mse_pipeline.backbones.prompt import written_language
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from mse_pipeline.training.examples import UNKNOWN, Example
from mse_pipeline.training.job import Job
from mse_pipeline.training.reading import Batch

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Inverse penalties that are tried: C of logistic regression, 1 / alpha of ridge."""
MOST_TERMS = 50_000
_FUNCTIONALS = ("mean", "deviation", *(f"quantile {share:g}" for share in QUANTILES))


def pooled(features: Features) -> np.ndarray:
    """Functionals of each value over a clip's valid rows that define it, (7 D,); NaN where none does.

    Examples:
        >>> rows = Features([[1.0], [3.0]], [[0, 1], [1, 2]], [True, True], ("f0",))
        >>> pooled(rows)[:2].tolist()
        [2.0, 1.0]
    """
    values = features.values[features.valid].astype(np.float64)
    found = np.full((len(_FUNCTIONALS), features.dim), np.nan)
    undefined = np.isnan(values)
    some = undefined.any(0)
    if len(values):  # of values that are all defined, numpy finds quantiles a hundred times as fast
        found[:, ~some] = _functionals(values[:, ~some])
    for column in np.flatnonzero(some & ~undefined.all(0)):
        found[:, column] = _functionals(values[~undefined[:, column], column])
    return found.reshape(-1)


def _functionals(values: np.ndarray) -> np.ndarray:
    """(7, ...) functionals over the first axis."""
    return np.stack([values.mean(0), values.std(0), *np.quantile(values, QUANTILES, axis=0)])


class Linear(DirectModel):
    """Ridge or logistic regression, see the module.

    Args:
        config: Of its options, ``terms`` and ``characters`` are what fitting finds: the terms of TF-IDF, and whether
            they are of characters. A configuration without them is of a model that is not fitted yet.
    """

    seeded = False
    defaults: ClassVar[Mapping[str, Any] | None] = {"terms": [], "characters": False}

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.terms: Sequence[str] = self.options["terms"]
        count = len(self.terms)
        width = count + (config.acoustic_dim or 0) + (config.visual_dim or 0)
        self.weight = nn.Parameter(torch.zeros(self.outputs, width))
        self.bias = nn.Parameter(torch.zeros(self.outputs))
        self.register_buffer("idf", torch.ones(count, dtype=torch.float64))

    @classmethod
    def view(cls, features: Features) -> Features:
        """One row: the functionals of all rows."""
        end = float(features.intervals[-1, 1]) if len(features) else 0.0
        valid = np.array([bool(features.valid.any())])
        return Features(pooled(features)[None], np.array([[0.0, end]]), valid, cls.view_names(tuple(features.names)))

    @classmethod
    def view_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Each functional of each value."""
        return tuple(f"{functional} of {name}" for functional in _FUNCTIONALS for name in names)

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs) values: the scores of the classes, or the number from -1 to 1."""
        rows = self._rows(batch)
        dense = torch.from_numpy(np.asarray(rows.todense() if hasattr(rows, "todense") else rows))
        values: torch.Tensor = dense.to(self.weight) @ self.weight.T + self.bias
        return values.clamp(-1, 1) if self.width is not None else values

    def fit(self, job: Job) -> None:
        """Fit it on the train split, with the penalty that is best on the valid split.

        Raises:
            UsageError: The shares of annotators' votes are to be learned.
        """
        if job.settings.targets == "distribution":
            raise UsageError("The model linear learns labels, not the shares of votes: set training.targets to label.")
        learned = [example for example in job.examples[Split.TRAIN] if example.target != UNKNOWN]
        judged = [example for example in job.examples[Split.VALID] if example.target != UNKNOWN]
        self._find_terms(learned, job)
        train, valid = (self._rows(job.batcher.batch(chosen)) for chosen in (learned, judged))
        wanted = self._targets(learned, job)
        weights = None if job.weights is None else job.weights.numpy()[wanted.astype(int)]
        right = np.array([one.target for one in judged]) if self._of_classes(job) else _labels(judged)
        name, higher = metrics.primary(job.metric_kind)
        best = -np.inf
        for strength in STRENGTHS:
            coefficients, intercepts = self._solved(train, wanted, weights, strength, job)
            scores = metrics.evaluate(job.metric_kind, self._read_off(valid, coefficients, intercepts, job), right)
            score = scores[name] if higher else -scores[name]
            if score > best or best == -np.inf:
                best = score if np.isfinite(score) else -np.inf
                self.weight.data = torch.tensor(coefficients, dtype=torch.float32)
                self.bias.data = torch.tensor(intercepts, dtype=torch.float32)
        if self.width is not None:
            self._find_width(valid, right, job)

    def _find_terms(self, learned: Sequence[Example], job: Job) -> None:
        """The terms of the train split's texts that at least two clips have, and how rare each is."""
        if not self.config.text or not any(example.text for example in learned):
            return
        characters = written_language(str(job.about["prompt"]["language"])) == "zh"
        vectors = _vectors(characters, min_df=2 if len(learned) > 1 else 1, max_features=MOST_TERMS)
        try:
            vectors.fit([example.text for example in learned])
        except ValueError:  # no term is in two texts
            return
        terms = vectors.get_feature_names_out().tolist()
        self.config = replace(self.config, options={"terms": terms, "characters": characters})
        self.options, self.terms = dict(self.config.options), terms
        self.idf = torch.tensor(vectors.idf_)

    def _rows(self, batch: Batch) -> Any:
        """(B, terms + functionals) float64, sparse where there are terms."""
        from scipy import sparse

        parts: list[Any] = [np.zeros((len(batch), 0))]
        for stream in (batch.acoustic, batch.visual):
            if stream is not None:
                parts.append(stream[:, 0].double().cpu().numpy() / np.sqrt(stream.shape[2]))
        dense = np.concatenate(parts, axis=1)
        if not self.terms:
            return dense
        return sparse.hstack([self._tf_idf.transform(batch.texts), sparse.csr_matrix(dense)]).tocsr()

    @cached_property
    def _tf_idf(self) -> Any:
        vectors = _vectors(self.options["characters"], vocabulary=self.terms)
        vectors.idf_ = self.idf.numpy()
        return vectors

    def _of_classes(self, job: Job) -> bool:
        return isinstance(job.answers.task, Classification)

    def _targets(self, learned: Sequence[Example], job: Job) -> np.ndarray:
        """Class indices, or numbers from -1 to 1."""
        if self._of_classes(job):
            return np.array([example.target for example in learned])
        low, half = _range(job)
        return (_labels(learned) - low) / half - 1

    def _solved(
        self, rows: Any, wanted: np.ndarray, weights: np.ndarray | None, strength: float, job: Job
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (outputs, width) and intercepts (outputs,)."""
        from sklearn.linear_model import LogisticRegression, Ridge

        if not self._of_classes(job):
            # The penalty is of the labels' own unit, whatever their range is scaled to.
            ridge = Ridge(alpha=1 / strength).fit(rows, wanted)
            return ridge.coef_.reshape(1, -1), np.atleast_1d(ridge.intercept_)
        present = np.unique(wanted)
        coefficients, intercepts = np.zeros((self.outputs, rows.shape[1])), np.full(self.outputs, _NEVER)
        if len(present) == 1:
            intercepts[present] = 0.0
            return coefficients, intercepts
        fitted = LogisticRegression(C=strength, max_iter=2000).fit(rows, wanted, sample_weight=weights)
        if len(present) == 2:  # one row of coefficients stands for both
            coefficients[present[1]], intercepts[present] = fitted.coef_[0], [0.0, fitted.intercept_[0]]
        else:
            coefficients[present], intercepts[present] = fitted.coef_, fitted.intercept_
        return coefficients, intercepts

    def _read_off(self, rows: Any, coefficients: np.ndarray, intercepts: np.ndarray, job: Job) -> np.ndarray:
        """Class indices, or numbers in the labels' unit."""
        values = rows @ coefficients.T + intercepts
        if self._of_classes(job):
            return np.asarray(values.argmax(1))
        low, half = _range(job)
        return low + half * (1 + np.clip(values[:, 0], -1, 1))

    def _find_width(self, valid: Any, right: np.ndarray, job: Job) -> None:
        """The width of the answers' Laplace distribution: the mean absolute error on valid is its best estimate."""
        values = self._read_off(valid, self.weight.detach().numpy(), self.bias.detach().numpy(), job)
        error = max(float(np.abs(values - right).mean()), 1e-3) / _range(job)[1]
        self.width.data = torch.tensor(float(np.log(np.expm1(error))))  # type: ignore[union-attr]


_NEVER = -30.0
"""Intercept of a class without any clip in the train split."""


def _vectors(characters: bool, **more: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    kind = {"analyzer": "char", "ngram_range": (1, 3)} if characters else {"ngram_range": (1, 2)}
    return TfidfVectorizer(sublinear_tf=True, **kind, **more)


def _labels(chosen: Sequence[Example]) -> np.ndarray:
    return np.array([float(example.label) for example in chosen])


def _range(job: Job) -> tuple[float, float]:
    """The least number, and half of the way to the largest one."""
    numbers = answer_values(job.answers.task)
    return float(numbers[0]), float(numbers[-1] - numbers[0]) / 2
