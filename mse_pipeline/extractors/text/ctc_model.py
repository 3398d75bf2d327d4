"""A CTC model of transformers: loaded, and run over sound of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.text.ctc_targets import Vocabulary

_PROBES = (4, 12)  # seconds


class CtcModel:
    """A loaded model.

    Args:
        folder: As `find` gives it.
        device: Where it runs, as in ``cpu`` or ``cuda``.
        window: Seconds of sound whose labels are taken from one call.
        context: Seconds that each call hears before and after them.

    Raises:
        UsageError: The folder holds no CTC model, or its vocabulary is not beside it.
    """

    def __init__(self, folder: Path, device: str, *, window: float = 20.0, context: float = 2.0) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # a worker's bars would go through those of the run
        safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._model = AutoModelForCTC.from_pretrained(folder, **safely).to(device).eval()
            self._prepare = AutoFeatureExtractor.from_pretrained(folder, **safely)
            tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"text.ctc: {folder} cannot be loaded as a CTC model ({str(error).strip().splitlines()[0]}). Its "
                "config.json, preprocessor_config.json, vocabulary and weights must lie there."
            ) from error
        self._device, self._window, self._context = device, window, context
        self.rate = int(self._prepare.sampling_rate)
        self.vocabulary = _vocabulary(tokenizer, self._model.config)
        self.hop = self._hop()

    def emissions(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the model hears, frame by frame; memory is bounded by the window and by the labels asked for.

        Args:
            samples: (N,) mono sound at `rate`.
            labels: (K,) ids of the labels that are looked for.

        Returns:
            (T, 2 + K) float64 log-probabilities of the blank, of any label at all, and of each label asked for. Frame
            k begins at sample ``k * hop``.
        """
        import torch

        core, around = round(self._window * self.rate / self.hop), round(self._context * self.rate / self.hop)
        parts = []
        first = 0
        while True:
            low = max(first - around, 0)
            last = (first + core + around) * self.hop >= len(samples)
            high = len(samples) if last else (first + core + around) * self.hop
            logits = self._logits(samples[low * self.hop : high])
            logits = logits[first - low :] if last else logits[first - low : first - low + core]
            likely = torch.log_softmax(logits.double(), dim=-1)
            blank = likely[:, self.vocabulary.blank]
            spoken = torch.log1p(-blank.exp().clamp(max=1 - 1e-12))
            asked = likely[:, torch.as_tensor(labels, device=likely.device)]
            parts.append(torch.cat([blank[:, None], spoken[:, None], asked], dim=1).cpu().numpy())
            if last:
                return np.concatenate(parts)
            first += core

    def _logits(self, samples: np.ndarray) -> Any:
        import torch

        inputs = self._prepare(samples, sampling_rate=self.rate, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            return self._model(**inputs).logits[0]

    def _hop(self) -> int:
        """Samples from one frame to the next: as the configuration tells, or as two calls show."""
        ratio = getattr(self._model.config, "inputs_to_logits_ratio", None)
        if ratio is not None and not getattr(self._model.config, "add_adapter", False):
            return int(ratio)
        short, long = (len(self._logits(np.zeros(seconds * self.rate, np.float32))) for seconds in _PROBES)
        if long <= short:
            raise MseError(f"text.ctc: the model gives {short} and {long} frames for {_PROBES} seconds of sound.")
        return round((_PROBES[1] - _PROBES[0]) * self.rate / (long - short))


def _vocabulary(tokenizer: Any, config: Any) -> Vocabulary:
    blank = config.pad_token_id if config.pad_token_id is not None else tokenizer.pad_token_id
    if blank is None:
        raise UsageError("text.ctc: neither the model's config.json nor its vocabulary tells the blank (pad_token_id).")
    control = set(tokenizer.all_special_tokens)
    # Tokenizers add control tokens and the sign between words on their own; the model may have no output for them.
    every = {label: id_ for label, id_ in tokenizer.get_vocab().items() if id_ < config.vocab_size}
    between = getattr(tokenizer, "word_delimiter_token", None)
    ids = {label: id_ for label, id_ in every.items() if label not in control and id_ != blank and label != between}
    pieces = None
    if any(label.startswith("\u2581") for label in ids):

        def pieces(word: str) -> list[int | None]:
            found = tokenizer.encode(word, add_special_tokens=False)
            return [None if label == tokenizer.unk_token_id else label for label in found]

    return Vocabulary(ids, int(blank), every.get(between) if between else None, pieces)
