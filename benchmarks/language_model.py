"""What the benchmarks of training and evaluation read: a large vocabulary over few layers, MELD's texts, made features.

The backbone is transformers' Qwen2 with random weights. How much of a step its vocabulary takes depends on its depth:
`layers` is small here so that a run takes minutes on two cores, and large in a real backbone.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mse_pipeline import backbones
from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt, task_prompt
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification, Task
from mse_pipeline.training.examples import Batcher, Example, Texts
from mse_pipeline.training.normaliser import fit

VOCABULARY = 151_936
TEXT_LENGTH = 65  # to which the reference pads MELD's texts
CLIPS = 800  # of which batches are made; an epoch of MELD sorts as many at once
EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
SHARED = Path(__file__).resolve().parents[2] / "shared"
STREAMS = {"acoustic": (64, 157), "visual": (64, 32)}  # dimensions and rows of MELD's published features


@dataclass(frozen=True)
class Sizes:
    """Of the backbone; `name` one that `backbones.load` knows, for that one in place of a made one."""

    name: str = ""
    width: int = 1024
    layers: int = 4
    inner: int = 2816
    heads: int = 16
    vocabulary: int = VOCABULARY
    dtype: str = "float32"
    device: str = "cpu"

    def backbone(self, tokenizer: Any) -> Backbone:
        """Qwen2 with weights drawn from a seed."""
        from transformers import Qwen2Config, Qwen2ForCausalLM

        config = Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
            attn_implementation="sdpa",
            dtype=getattr(torch, self.dtype),
        )
        torch.manual_seed(0)
        held = torch.get_default_dtype()
        torch.set_default_dtype(config.dtype)
        try:
            with torch.device(self.device):
                model = Qwen2ForCausalLM(config)
        finally:
            torch.set_default_dtype(held)
        return Backbone("made", "random", None, model.eval().requires_grad_(False), tokenizer)


@dataclass(eq=False)
class Bench:
    """A backbone, an adapter, and clips to read."""

    sizes: Sizes
    task: Task = field(default_factory=lambda: Classification(EMOTIONS))
    pseudo_tokens: int = 4

    def __post_init__(self) -> None:
        tokenizer, texts = tokenizer_and_texts(self.sizes.vocabulary)
        if self.sizes.name:
            self.backbone = backbones.load(self.sizes.name, self.sizes.dtype, self.sizes.device)
            tokenizer = self.backbone.tokenizer
        else:
            self.backbone = self.sizes.backbone(tokenizer)
        family = self.backbone.family
        self.prompt = Prompt.build(tokenizer, family=family, task_prompt=task_prompt(self.task))
        self.answers = Answers(self.task, tokenizer, family)
        draw = random.Random(0)
        self.clips = [
            Example(f"{place}", text, "", draw.randrange(len(self.answers))) for place, text in enumerate(texts)
        ]
        streams = {name: made_stream(len(texts), *size) for name, size in STREAMS.items()}
        normalisers = {name: fit(list(stream.values())[:50]) for name, stream in streams.items()}
        self.batcher = Batcher(Texts(self.backbone, TEXT_LENGTH), streams, normalisers)
        torch.manual_seed(0)
        sizes = AdapterConfig(
            hidden_size=self.backbone.hidden_size,
            acoustic_dim=STREAMS["acoustic"][0],
            visual_dim=STREAMS["visual"][0],
            acoustic_hidden=32,
            visual_hidden=16,
            pseudo_tokens=self.pseudo_tokens,
        )
        self.adapter = MSEAdapter(sizes).to(self.sizes.device)
        self.optimiser = torch.optim.AdamW(self.adapter.parameters(), 5e-4, eps=1e-4)

    @property
    def title(self) -> str:
        """The backbone in few words."""
        sizes = self.sizes
        made = f"{sizes.layers} layers of {sizes.width}"
        return f"{sizes.name or made}, {sizes.dtype}"

    def padded(self, chosen: Sequence[Example], mask: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The straightforward reading: every text padded to `TEXT_LENGTH`, and read so unless `mask`.

        Returns:
            (B, P, d) embeddings of start, tag, pseudo tokens, text, tag and task prompt; (B, P) attention mask; the
            number of tokens of each text.
        """
        batch = self.batcher.batch(chosen).to(self.sizes.device)
        ids = torch.zeros(len(chosen), TEXT_LENGTH, dtype=torch.int64, device=self.sizes.device)
        there = torch.zeros_like(ids, dtype=torch.bool)
        length = batch.text_ids.shape[1]
        ids[:, :length], there[:, :length] = batch.text_ids, batch.text_mask
        if not mask:
            there[:] = True
        text = self.backbone.embed(ids)
        sequences = (batch.acoustic, batch.acoustic_lengths, batch.visual, batch.visual_lengths)
        pseudo = self.adapter(*sequences, text, there).to(text.dtype)
        before, after = (
            self.backbone.embed(torch.tensor([part], device=self.sizes.device)).expand(len(chosen), -1, -1)
            for part in (self.prompt.before, self.prompt.after)
        )
        whole = torch.cat([before, pseudo, text, after], dim=1)
        attention = torch.ones(whole.shape[:2], dtype=torch.int64, device=self.sizes.device)
        begin = before.shape[1] + pseudo.shape[1]
        attention[:, begin : begin + TEXT_LENGTH] = there
        return whole, attention, batch.text_mask.sum(1)


def tokenizer_and_texts(vocabulary: int = VOCABULARY) -> tuple[Any, list[str]]:
    """Qwen's tokenizer and `CLIPS` of MELD's train texts; without ../shared, a small one and made texts as long.

    So, too, for a backbone with fewer tokens than Qwen's.
    """
    folder, labels = SHARED / "models" / "qwen1-tiny", SHARED / "data" / "meld" / "current" / "train_sent_emo.csv"
    draw = random.Random(1)
    if folder.is_dir() and labels.is_file() and vocabulary >= VOCABULARY:
        with labels.open(encoding="utf-8", newline="") as file:
            texts = [row["Utterance"] for row in csv.DictReader(file)]
        return backbones.load_tokenizer(folder)[0], draw.sample(texts, CLIPS)
    # MELD has 8 words a text in the mean, half of them 6 or fewer, one in twenty over 20.
    words = ["we", "go", "there", "and", "you", "know", "it", "now"]
    counts = [min(40, max(1, round(draw.lognormvariate(1.8, 0.75)))) for _ in range(CLIPS)]
    return backbones.load_tokenizer("tiny")[0], [" ".join(draw.choices(words, k=count)) for count in counts]


def made_stream(count: int, dim: int, most: int) -> Mapping[str, Features]:
    """Noise of 1 to `most` rows a clip."""
    rng = np.random.default_rng(dim)
    noise = rng.normal(size=(most, dim)).astype(np.float32)
    names = tuple(f"d{n}" for n in range(dim))
    rows = rng.integers(most // 4, most + 1, count)
    times = np.stack([np.arange(most), np.arange(1, most + 1)], 1) * 0.1
    return {str(n): Features(noise[:r], times[:r], np.ones(r, bool), names) for n, r in enumerate(rows)}
