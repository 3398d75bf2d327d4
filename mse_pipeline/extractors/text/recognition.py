"""Speech recognition: a piece of sound goes in, and what is said, letter by letter with times, comes out.

Encoder-decoder models (Whisper, Speech2Text, Moonshine, ...) write token after token, always the likeliest; which sound
a token is about, its attention over the encoder's rows tells. CTC models tell it themselves.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.encoder import load_model
from mse_pipeline.extractors.pretrained import load_preprocessor
from mse_pipeline.media.audio import SAMPLE_RATE

GENERATION = "generation_config.json"
"""File beside a model that tells how it writes; the values depend on it."""

_MEDIAN = 7  # encoder rows over which attention is smoothed
_CODE = re.compile(r"<\|([a-z]{2,3})\|>")


@dataclass(frozen=True, eq=False)
class Heard:
    """What a model understood of a piece of sound.

    Attributes:
        text: As the model writes it, without blanks around it.
        times: (N, 2) float64, begin and end of each of its N characters in seconds from the piece's begin.
        sure: (N,) float64, the probability of the token that each is part of.
        log_prob: Mean log probability of the tokens, of that which ends the text too; 0 where there is no text.
        language: Code of the language as the model detected or was told it; empty where it knows none.
        language_probability: Of that language among all that the model knows; NaN where it was told.
        no_speech: Probability that nobody speaks; NaN where the model does not tell.
    """

    text: str
    times: np.ndarray
    sure: np.ndarray
    log_prob: float
    language: str = ""
    language_probability: float = math.nan
    no_speech: float = math.nan


class Recogniser(ABC):
    """A loaded model.

    Attributes:
        longest: Seconds that it hears at once; None for any number.
        told: Sentences about what it cannot tell, or how else it is found.
    """

    longest: float | None = None
    told: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, pieces: Sequence[np.ndarray]) -> list[Heard]:
        """Transcribe some pieces, each (N,) float32 mono at 16,000 samples a second."""


def kind_of(config: Any, name: str) -> str:
    """How a model recognises speech: ``whisper``, ``seq2seq`` or ``ctc``.

    Args:
        config: Its configuration.
        name: As the user called it, for messages.

    Raises:
        UsageError: It does not recognise speech.
    """
    from transformers import MODEL_FOR_CTC_MAPPING, MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING

    if config.model_type == "whisper":
        return "whisper"
    classes = getattr(config, "architectures", None) or []
    writes = type(config) in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
    if type(config) in MODEL_FOR_CTC_MAPPING and not (writes and not any("CTC" in name for name in classes)):
        return "ctc"
    if writes:
        return "seq2seq"
    raise UsageError(
        f"{name} is a {config.model_type!r} model, which does not write what it hears. text.asr takes Whisper, other "
        "speech-to-text models (Speech2Text, Moonshine, ...), and CTC models (wav2vec 2.0, HuBERT, WavLM, ...)."
    )


def load(folder: Path, *, language: str | None, precision: str, device: str, tokens: int | None) -> Recogniser:
    """Load the model of a folder.

    Args:
        folder: As `mse_pipeline.extractors.pretrained.find` gives it.
        language: Code of what is said; None to have it detected.
        precision: Number format in which it computes, ``float32`` or ``bfloat16``.
        device: Where it runs.
        tokens: Most tokens that are written for a piece; None for as many as the model can.

    Raises:
        MseError: It is broken, of another kind, lacks a part, or does not know the language.
    """
    config = pretrained.config(folder)
    kind = kind_of(config, folder.name)
    processor = load_preprocessor("AutoFeatureExtractor", folder)
    if processor.sampling_rate != SAMPLE_RATE:
        raise UsageError(
            f"{folder} hears {processor.sampling_rate:,} samples a second; clips are decoded to {SAMPLE_RATE:,}. Take "
            f"a model for {SAMPLE_RATE:,}."
        )
    tokenizer = load_preprocessor("AutoTokenizer", folder)
    known, written = len(tokenizer.get_vocab()), int(getattr(config, "vocab_size", None) or 0)
    if known < written / 2:  # transformers makes an empty tokenizer where the files of one are missing
        raise UsageError(
            f"The model folder {folder} has no usable tokenizer.json (or the files of its vocabulary): its tokenizer "
            f"knows {known:,} tokens, but the model writes {written:,}. Copy it from the model that this one was made "
            "from."
        )
    auto = "AutoModelForCTC" if kind == "ctc" else "AutoModelForSpeechSeq2Seq"
    model, missing = load_model(folder, pretrained.digest(folder), precision, device, kind=auto)
    if missing:
        raise MseError(
            f"The weights in {folder} lack {len(missing)} parameters that speech recognition needs; the first is "
            f"{missing[0]}. Take a model that was fine-tuned to recognise speech, or fetch the whole model again."
        )
    if kind == "ctc":
        return CtcRecogniser(model, processor, tokenizer, language)
    made = WhisperRecogniser if kind == "whisper" else Seq2SeqRecogniser
    return made(model, processor, tokenizer, language=language, tokens=tokens, name=folder.name)


class Seq2SeqRecogniser(Recogniser):
    """An encoder-decoder model.

    Args:
        model: The loaded model.
        processor: Its feature extractor.
        tokenizer: Its tokenizer.
        language: Code of what is said, which the transcript is marked with.
        tokens: Most tokens that are written for a piece.
        name: How messages call it.

    Raises:
        UsageError: Its decoder has no attention over the sound that can be read.
    """

    def __init__(
        self, model: Any, processor: Any, tokenizer: Any, *, language: str | None, tokens: int | None, name: str
    ) -> None:
        self.model, self.processor, self.tokenizer, self.name = model, processor, tokenizer, name
        self.language = language or ""
        self._tokens = tokens
        layers = getattr(model.get_decoder(), "layers", ())
        self._attentions = [layer.encoder_attn for layer in layers if hasattr(layer, "encoder_attn")]
        if not self._attentions:
            raise UsageError(
                f"text.asr cannot tell when the words of {name} ({model.config.model_type}) are said: its decoder has "
                "no attention over the sound that it shows. Take Whisper, Speech2Text, Moonshine or a CTC model."
            )
        self.heads = self._named_heads() or self._upper_half()

    def _named_heads(self) -> list[tuple[int, int]]:
        """(layer, head) of the attention that follows the sound, as the model's authors found."""
        named = getattr(self.model.generation_config, "alignment_heads", None) or []
        return [(int(layer), int(head)) for layer, head in named]

    def _upper_half(self) -> list[tuple[int, int]]:
        """All heads of the decoder's upper half, as OpenAI's code does where nobody has chosen."""
        config = self.model.config
        heads = int(getattr(config, "decoder_attention_heads", 0) or config.decoder_num_attention_heads)
        first = len(self._attentions) // 2
        self.told = (
            f"{self.name} does not name its alignment_heads (in {GENERATION}): word times are found by all heads of "
            "the upper half of its decoder, which is less exact.",
        )
        return [(layer, head) for layer in range(first, len(self._attentions)) for head in range(heads)]

    def __call__(self, pieces: Sequence[np.ndarray]) -> list[Heard]:
        """Transcribe; see `Recogniser`."""
        import torch

        with torch.inference_mode():
            inputs, encoded = self._encode(pieces)
            begins = self._begin(encoded)
            written = self._write(inputs, encoded, [begin.tokens for begin in begins])
            heard = []
            for number, (piece, begin, ids) in enumerate(zip(pieces, begins, written, strict=True)):
                states, own = encoded.last_hidden_state[number : number + 1], _mask(inputs, slice(number, number + 1))
                heard.append(self._heard(piece, begin, ids, states, own))
            return heard

    def _encode(self, pieces: Sequence[np.ndarray]) -> tuple[dict[str, Any], Any]:
        """What the encoder reads, and what it makes of it."""
        read = self.processor(list(pieces), sampling_rate=SAMPLE_RATE, return_tensors="pt", **self._padding)
        weight = next(self.model.parameters())
        inputs = {
            name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
            for name, value in read.items()
        }
        return inputs, self.model.get_encoder()(**inputs)

    _padding: ClassVar[dict[str, Any]] = {"padding": True}

    def _begin(self, encoded: Any) -> list[Begin]:
        """What each text begins with."""
        config = self.model.generation_config
        start = config.decoder_start_token_id
        if start is None:
            start = config.bos_token_id
        forced = getattr(config, "forced_bos_token_id", None)
        tokens = (int(start),) if forced is None else (int(start), int(forced))
        return [Begin(tokens, self.language) for _ in range(len(encoded.last_hidden_state))]

    def _write(self, inputs: dict[str, Any], encoded: Any, begins: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """The tokens of each text, without its begin and end: always the likeliest next one."""
        import torch
        from transformers import GenerationConfig, GenerationMixin

        config, own = self.model.config, self.model.generation_config
        room = int(getattr(config, "max_target_positions", None) or config.max_position_embeddings) - len(begins[0])
        end, pad = self._end, own.pad_token_id
        settings = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max(room if self._tokens is None else min(room, self._tokens), 1),
            eos_token_id=end,
            pad_token_id=end if pad is None else pad,
            decoder_start_token_id=begins[0][0],
            suppress_tokens=self._suppressed() or None,
            begin_suppress_tokens=self._suppressed_at_first() or None,
        )
        # Not the model's own `generate`: that of Whisper needs files that many folders lack, and samples again where
        # it is not content.
        sequences = GenerationMixin.generate(
            self.model,
            encoder_outputs=encoded,
            decoder_input_ids=torch.tensor(begins, device=encoded.last_hidden_state.device),
            generation_config=settings,
            **_mask(inputs),
        )
        texts = []
        for ids in sequences[:, len(begins[0]) :].tolist():
            texts.append(ids[: ids.index(end)] if end in ids else ids)
        return texts

    @property
    def _end(self) -> int:
        end = self.model.generation_config.eos_token_id
        return int(end[0] if isinstance(end, list) else end)

    def _suppressed(self) -> list[int]:
        """Tokens that are never written."""
        return list(getattr(self.model.generation_config, "suppress_tokens", None) or [])

    def _suppressed_at_first(self) -> list[int]:
        """Tokens that no text begins with."""
        return list(getattr(self.model.generation_config, "begin_suppress_tokens", None) or [])

    def _is_text(self, token: int) -> bool:
        return token not in self.tokenizer.all_special_ids

    def _heard(self, piece: np.ndarray, begin: Begin, ids: list[int], states: Any, mask: dict[str, Any]) -> Heard:
        """What was written of one piece, with the times and the probabilities of its letters."""
        import torch

        known: dict[str, Any] = {
            "language": begin.language,
            "language_probability": begin.probability,
            "no_speech": begin.no_speech,
        }
        content = [place for place, token in enumerate(ids) if self._is_text(token)]
        if not content:
            return Heard("", np.zeros((0, 2)), np.zeros(0), 0.0, **known)
        whole = torch.tensor([[*begin.tokens, *ids]], device=states.device)
        rows, seconds = self._rows(piece, states, mask)
        with self._watched() as attentions:
            output = self.model(encoder_outputs=(states,), decoder_input_ids=whole, use_cache=False, **mask)
        # Each token is the answer to the one before it, and the end that to the last.
        first = len(begin.tokens) - 1
        log_probs = torch.log_softmax(output.logits[0, first:].float(), -1).cpu()
        chosen = log_probs[torch.arange(len(ids) + 1), torch.tensor([*ids, self._end])]
        weights = torch.stack([attentions[layer][0, head] for layer, head in self.heads]).float()[..., :rows]
        starts = token_starts(weights.cpu().numpy(), first) * seconds
        letters = self._letters([ids[place] for place in content])
        times, sure = [], []
        for place, count in zip(content, letters.counts, strict=True):
            edges = np.linspace(starts[place], starts[place + 1], count + 1)
            times += list(itertools.pairwise(edges.tolist()))
            sure += [math.exp(float(chosen[place]))] * count
        skip, stop = letters.skip, letters.skip + len(letters.text)
        return Heard(
            letters.text,
            np.array(times, float).reshape(-1, 2)[skip:stop],
            np.array(sure, float)[skip:stop],
            float(chosen.mean()),
            **known,
        )

    def _rows(self, piece: np.ndarray, states: Any, mask: dict[str, Any]) -> tuple[int, float]:
        """How many of the encoder's rows are of the piece and not of what pads it, and seconds of a row."""
        rows = int(states.shape[1])
        if "attention_mask" in mask:
            rows = max(round(rows * float(mask["attention_mask"].float().mean())), 1)
        return rows, len(piece) / SAMPLE_RATE / rows

    @contextlib.contextmanager
    def _watched(self) -> Iterator[dict[int, Any]]:
        """Keep the attention of the layers that are needed, and of no other: a large model has gigabytes of it."""
        kept: dict[int, Any] = {}

        def keeper(layer: int) -> Any:
            def keep(module: Any, inputs: Any, output: Any) -> None:
                kept[layer] = output[1]

            return keep

        hooks = [
            self._attentions[layer].register_forward_hook(keeper(layer)) for layer in {layer for layer, _ in self.heads}
        ]
        usual = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")  # the others are quicker, but do not show their attention
        try:
            yield kept
        finally:
            self.model.set_attn_implementation(usual)
            for hook in hooks:
                hook.remove()

    def _letters(self, ids: Sequence[int]) -> Letters:
        """The text of tokens, and how many of its characters each writes.

        A token may be a part of a character: the character belongs to the token that completes it.
        """
        ends, last, text = [], 0, ""
        for count in range(1, len(ids) + 1):
            text = self.tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False)
            last = max(last, len(text) if count == len(ids) else len(text.rstrip("\ufffd")))
            ends.append(last)
        counts = np.diff([0, *ends]).tolist()
        return Letters(text.strip(), len(text) - len(text.lstrip()), counts)


def _mask(inputs: dict[str, Any], which: slice = slice(None)) -> dict[str, Any]:
    """What of the encoder's input is sound, where the feature extractor tells."""
    return {"attention_mask": inputs["attention_mask"][which]} if "attention_mask" in inputs else {}


@dataclass(frozen=True)
class Begin:
    """What a text begins with, and what is known before a word of it is written."""

    tokens: tuple[int, ...]
    language: str = ""
    probability: float = math.nan
    no_speech: float = math.nan


@dataclass(frozen=True)
class Letters:
    """A text without blanks around it, how many blanks came before it, and the number of letters of each token."""

    text: str
    skip: int
    counts: list[int]


class WhisperRecogniser(Seq2SeqRecogniser):
    """Whisper (Radford et al. 2022), multilingual or for English alone, from a folder old or new.

    A text begins with the tokens of language and task, and has no time stamps. What old folders lack of
    generation_config.json is read from the vocabulary.
    """

    _padding: ClassVar[dict[str, Any]] = {"return_attention_mask": False}

    def __init__(
        self, model: Any, processor: Any, tokenizer: Any, *, language: str | None, tokens: int | None, name: str
    ) -> None:
        super().__init__(model, processor, tokenizer, language=language, tokens=tokens, name=name)
        self.longest = processor.n_samples / SAMPLE_RATE
        size = int(model.config.vocab_size)
        self._ids = {token: id_ for token, id_ in tokenizer.get_vocab().items() if id_ < size}
        self._languages = self._known_languages()
        self._size = size
        if language is not None:
            self._require(language)

    def _known_languages(self) -> dict[str, int]:
        """Token by code of the language; none for a model of English alone."""
        own = self.model.generation_config
        # OpenAI's rule, where no file tells: the vocabulary of English alone is one token smaller.
        multilingual = getattr(own, "is_multilingual", None)
        if multilingual is None:
            multilingual = self.model.config.vocab_size != 51_864
        if not multilingual:
            return {}
        named = getattr(own, "lang_to_id", None) or self._ids
        return {match[1]: int(id_) for token, id_ in named.items() if (match := _CODE.fullmatch(token))}

    def _require(self, language: str) -> None:
        if language not in (self._languages or {"en": 0}):
            there = sorted(self._languages) or ["en"]
            near = did_you_mean(language, there) or f"; it knows {', '.join(there)}."
            raise UsageError(f"{self.name} knows no language {language!r}{near}")

    @property
    def _end(self) -> int:
        return self._ids.get("<|endoftext|>", super()._end)

    def _is_text(self, token: int) -> bool:
        return token < self._end  # all control tokens and time stamps come behind it

    def _suppressed(self) -> list[int]:
        listed = [token for token in super()._suppressed() if token >= 0]
        return sorted({*listed, *range(self._end + 1, self._size)} - {self._end})

    def _begin(self, encoded: Any) -> list[Begin]:
        """Language and task; of a model that knows one language neither."""
        import torch

        states = encoded.last_hidden_state
        start = int(self.model.config.decoder_start_token_id)
        # A decoder that has read nothing yet: which token comes first tells language, and whether anybody speaks.
        first = torch.full((len(states), 1), start, device=states.device)
        logits = self.model(encoder_outputs=(states,), decoder_input_ids=first, use_cache=False).logits[:, 0].float()
        silent = next((self._ids[name] for name in ("<|nospeech|>", "<|nocaptions|>") if name in self._ids), None)
        no_speech = [math.nan] * len(states) if silent is None else torch.softmax(logits, -1)[:, silent].tolist()
        last = [self._ids[name] for name in ("<|notimestamps|>",) if name in self._ids]
        if not self._languages:
            return [Begin((start, *last), "en", math.nan, value) for value in no_speech]
        codes, ids = list(self._languages), list(self._languages.values())
        shares = torch.softmax(logits[:, ids], -1)
        task = [self._ids[name] for name in ("<|transcribe|>",) if name in self._ids]
        begins = []
        for number, value in enumerate(no_speech):
            if self.language:
                code, share = self.language, math.nan
            else:
                place = int(shares[number].argmax())
                code, share = codes[place], float(shares[number, place])
            begins.append(Begin((start, self._languages[code], *task, *last), code, share, value))
        return begins

    def _rows(self, piece: np.ndarray, states: Any, mask: dict[str, Any]) -> tuple[int, float]:
        hop = 2 * int(self.processor.hop_length)
        return min(max(len(piece) // hop, 1), int(states.shape[1])), hop / SAMPLE_RATE


class CtcRecogniser(Recogniser):
    """A CTC model: in each frame the likeliest label, repeated ones and blanks left out (Graves et al. 2006).

    Args:
        model: The loaded model.
        processor: Its feature extractor.
        tokenizer: Its tokenizer.
        language: Code of what is said, which the transcript is marked with.
    """

    def __init__(self, model: Any, processor: Any, tokenizer: Any, language: str | None) -> None:
        from mse_pipeline.extractors.text.ctc import vocabulary_of

        self._model, self._prepare = model, processor
        self._language = language or ""
        vocabulary = vocabulary_of(tokenizer, model.config)
        self._blank = vocabulary.blank
        self._labels = {id_: label.replace("\u2581", " ") for label, id_ in vocabulary.ids.items()}
        if vocabulary.delimiter is not None:
            self._labels[vocabulary.delimiter] = " "

    def __call__(self, pieces: Sequence[np.ndarray]) -> list[Heard]:
        """Transcribe; see `Recogniser`. One piece at a time: padding changes what many of these models hear."""
        return [self._heard(piece) for piece in pieces]

    def _heard(self, piece: np.ndarray) -> Heard:
        import torch

        weight = next(self._model.parameters())
        inputs = {
            name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
            for name, value in self._prepare(piece, sampling_rate=SAMPLE_RATE, return_tensors="pt").items()
        }
        with torch.inference_mode():
            shares = torch.softmax(self._model(**inputs).logits[0].float(), -1)
        highest, labels = (value.cpu().numpy() for value in shares.max(-1))
        step = len(piece) / SAMPLE_RATE / len(labels)
        edges = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1], True])
        text, times, sure, told = "", [], [], []
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            written = "" if labels[begin] == self._blank else self._labels.get(int(labels[begin]), "")
            if not written:
                continue
            told.append(float(highest[begin:end].mean()))
            text += written
            places = np.linspace(begin * step, end * step, len(written) + 1)
            times += list(itertools.pairwise(places.tolist()))
            sure += [told[-1]] * len(written)
        stripped = text.strip()
        skip = len(text) - len(text.lstrip())
        return Heard(
            stripped,
            np.array(times, float).reshape(-1, 2)[skip : skip + len(stripped)],
            np.array(sure, float)[skip : skip + len(stripped)],
            float(np.log(np.maximum(told, 1e-30)).mean()) if told else 0.0,
            self._language,
        )


def token_starts(weights: np.ndarray, skip: int) -> np.ndarray:
    """The encoder row in which each token begins, by dynamic time warping over attention, as OpenAI's Whisper does.

    Args:
        weights: (H, L, T) attention of H heads, of L tokens that were read, over T rows of the sound alone.
        skip: Tokens before that which the first token of the text is the answer to.

    Returns:
        (L - skip,) rows at which the tokens begin that were written: those of the text, and the end.
    """
    from scipy.ndimage import median_filter

    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-12)  # as if there were nothing but the sound
    spread = weights.std(-2, keepdims=True)
    weights = (weights - weights.mean(-2, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    if weights.shape[-1] > _MEDIAN // 2:
        weights = median_filter(weights, size=(1, 1, _MEDIAN), mode="mirror")
    tokens, rows = warped(-weights.mean(0)[skip:].astype(np.float64))
    return rows[np.flatnonzero(np.diff(tokens, prepend=-1))]


def warped(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest way from the first cell to the last, a step down, right, or both at once.

    Args:
        cost: (L, T) of each cell.

    Returns:
        Row and column of the cells on the way.

    Examples:
        >>> rows, columns = warped(np.array([[0.0, 0.0, 9.0], [9.0, 9.0, 0.0]]))
        >>> rows.tolist(), columns.tolist()
        ([0, 0, 1], [0, 1, 2])
    """
    height, width = cost.shape
    total = np.full((height + 1, width + 1), np.inf)
    total[0, 0] = 0.0
    steps = np.full((height + 1, width + 1), 2, np.int8)
    steps[:, 0] = 1
    # Cells of one anti-diagonal do not depend on each other.
    for diagonal in range(2, height + width + 1):
        i = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        j = diagonal - i
        both, down, right = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        step = np.where((both < down) & (both < right), 0, np.where((down < both) & (down < right), 1, 2))
        total[i, j] = cost[i - 1, j - 1] + np.choose(step, (both, down, right))
        steps[i, j] = step
    i, j, cells = height, width, []
    while i > 0 and j > 0:
        cells.append((i - 1, j - 1))
        step = steps[i, j]
        i, j = i - (step != 2), j - (step != 1)
    rows, columns = np.array(cells[::-1]).T
    return rows, columns
