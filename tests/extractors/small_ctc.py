"""A CTC model that truly hears: each letter is a tone of its own, and a small wav2vec 2.0 is trained on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
VOCABULARY = ["<pad>", "<unk>", "A", "B", "C", "D", "E", "'", "你", "好", "二", "十"]
LETTERS = VOCABULARY[2:]
STEPS = 110


def speak(
    words: Sequence[Sequence[str]], rng: np.random.Generator, pause: tuple[float, float] = (0.25, 0.4)
) -> tuple[np.ndarray, list[tuple[float, float]], list[tuple[str, float, float]]]:
    """Sound of some words, each a sequence of letters, with a pause before each and at the end.

    Returns:
        Samples at `RATE`; begin and end of each word in seconds; letter, begin and end of each letter.
    """
    parts: list[np.ndarray] = [np.zeros(int(rng.uniform(*pause) * RATE))]
    times, letters = [], []
    for word in words:
        begin = now = sum(map(len, parts))
        for letter, before in zip(word, [None, *word], strict=False):
            if letter == before:  # a CTC model tells two equal letters by what is between them
                parts.append(np.zeros(RATE // 20))
                now += RATE // 20
            length = int(rng.uniform(0.08, 0.14) * RATE)
            hertz = 250 * 1.3 ** LETTERS.index(letter)
            parts.append(0.3 * np.sin(2 * np.pi * hertz * np.arange(length) / RATE + rng.uniform(0, 6)))
            letters.append((letter, now / RATE, (now + length) / RATE))
            now += length
        times.append((begin / RATE, now / RATE))
        parts.append(np.zeros(int(rng.uniform(*pause) * RATE)))
    clean = np.concatenate(parts)
    return (clean + rng.normal(size=len(clean)) * 0.005).astype(np.float32), times, letters


def small_model(labels: int) -> Any:
    """A wav2vec 2.0 of one layer; frames every 20 ms as in the large ones."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    off = dict.fromkeys(
        ("layerdrop", "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0
    )
    config = Wav2Vec2Config(
        vocab_size=labels,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
        final_dropout=0.0,
        apply_spec_augment=False,
        **off,
    )
    return Wav2Vec2ForCTC(config)


def save_model(folder: Path, model: Any, vocabulary: Sequence[str]) -> Path:
    """Write a model as `save_pretrained` does, with its vocabulary and preparation beside it."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({label: place for place, label in enumerate(vocabulary)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def trained_model() -> Any:
    """A model that knows the tones: trained for a few seconds, frame by frame, always the same."""
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model waits for its threads longer than they work
    model, prepare, rng = small_model(len(VOCABULARY)).train(), Wav2Vec2FeatureExtractor(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    for _ in range(STEPS):
        samples, _, letters = speak([rng.choice(LETTERS, 3) for _ in range(5)], rng, pause=(0.05, 0.3))
        logits = model(**prepare(samples, sampling_rate=RATE, return_tensors="pt")).logits[0]
        wanted = torch.zeros(len(logits), dtype=torch.long)
        for letter, begin, end in letters:
            wanted[int(begin * 50) : int(end * 50)] = VOCABULARY.index(letter)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, wanted).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return model.eval()
