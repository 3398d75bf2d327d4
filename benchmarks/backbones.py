"""What real backbones make of the prompts before anything is learnt, and what quantization costs them: `make real`.

    python -m benchmarks.backbones /tmp/models/smollm2-135m --work data/real --texts 100

A wording is good where the backbone puts its probability on the answers. What quantization costs is measured on the
same weights: written as GGUF does, block by block, and read back. Where a folder was itself made of a quantized file,
that is what one more quantization costs, which is less than the first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import real_data
from mse_pipeline import backbones, recipe
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import TAGS, default_task_prompt, encode, start_ids
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Classification, Task

DATASETS = ("meld", "simsv2")
KINDS = ("Q8_0", "Q5_0", "Q4_0")
SEED = 0


@dataclass(frozen=True)
class Wording:
    """A way to ask.

    Attributes:
        name: In the table.
        before: What stands before the text.
        after: What stands behind it.
        answers: The possible ones.
    """

    name: str
    before: str
    after: str
    answers: tuple[str, ...]


def wordings(task: Task, backbone: Backbone, name: str) -> Iterator[Wording]:
    """The paper's, with its variants, and plainer ones."""
    asked = recipe.load(name).prompt
    opening, closing = TAGS[asked.language]
    paper = Answers(task, backbone.tokenizer, backbone.family).texts
    spaced = tuple(f" {text}" for text in paper)
    yield Wording("paper's", opening, f"{closing}{asked.task}", paper)
    yield Wording("paper's, answers behind a space", opening, f"{closing}{asked.task}", spaced)
    yield Wording("paper's, ends with a space", opening, f"{closing}{asked.task} ", paper)
    if isinstance(task, Classification):
        words = Answers(task, backbone.tokenizer, backbone.family, label_words=True).texts
        question = default_task_prompt(task, asked.language, label_words=True)
        listed = ", ".join(task.classes)
        yield Wording("paper's, label words", opening, f"{closing}{question}", words)
        yield Wording("plain, label words", 'Text: "', f'"\nEmotion ({listed}):', words)
    else:
        yield Wording("plain", "文本：“", "”\n情感分数（-1.0到1.0）：", paper)


@torch.no_grad()
def next_tokens(backbone: Backbone, before: str, text: str, after: str) -> torch.Tensor:
    """Log-probabilities (vocabulary,) of what follows."""
    ids = [*start_ids(backbone.tokenizer, backbone.family), *encode(backbone.tokenizer, before + text + after)]
    logits: torch.Tensor = backbone.model(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits.float().log_softmax(-1)


def try_wordings(backbone: Backbone, name: str, clips: Sequence[Clip], task: Task) -> Table:
    """Probability of all first tokens of answers together, and of how many clips the likeliest is right."""
    table = Table("wording", "on the answers", "single tokens", "right", title=f"{backbone.name}, {name}")
    for wording in wordings(task, backbone, name):
        ids = [encode(backbone.tokenizer, text) for text in wording.answers]
        first = sorted({one[0] for one in ids})
        single = len(first) == len(ids) and all(len(one) == 1 for one in ids)
        mass, right = [], []
        for clip in clips:
            scores = next_tokens(backbone, wording.before, clip.text, wording.after)
            mass.append(scores[first].exp().sum().item())
            if single and isinstance(task, Classification):
                right.append(int(scores[[one[0] for one in ids]].argmax()) == task.index(clip.label))
        told = f"{np.mean(right):.3f}" if right else ""
        table.add_row(wording.name, f"{np.mean(mass):.3f}", "yes" if single else "no", told)
    return table


@torch.no_grad()
def perplexity(backbone: Backbone, texts: Sequence[str]) -> float:
    """Of texts on their own."""
    loss, count = 0.0, 0
    for text in texts:
        ids = [*start_ids(backbone.tokenizer, backbone.family), *encode(backbone.tokenizer, text)]
        logits = backbone.model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
        loss -= logits[range(len(ids) - 1), ids[1:]].sum().item()
        count += len(ids) - 1
    return float(np.exp(loss / count))


def answers_of(backbone: Backbone, texts: Sequence[str], task: Task) -> torch.Tensor:
    """Log-probabilities (N, A) of MELD's answers among themselves, in the paper's wording."""
    wording = next(wordings(task, backbone, "meld"))
    ids = [encode(backbone.tokenizer, text) for text in wording.answers]
    # Tokenizers after sentencepiece write a space before each answer, which all then share.
    common = backbone.tokenizer.decode(ids[0][:-1])
    last = [one[-1] for one in ids]
    rows = [next_tokens(backbone, wording.before, text, wording.after + common)[last] for text in texts]
    return torch.stack(rows).log_softmax(1)


def quantized(weight: torch.Tensor, kind: str) -> torch.Tensor | None:
    """A matrix written and read back; None where its rows are no whole blocks."""
    import gguf

    numbers = gguf.GGMLQuantizationType[kind]
    if weight.ndim != 2 or weight.shape[1] % gguf.GGML_QUANT_SIZES[numbers][0]:
        return None
    stored = gguf.quants.quantize(weight.numpy(), numbers)
    return torch.from_numpy(gguf.quants.dequantize(stored, numbers))


def cost_of_quantization(backbone: Backbone, texts: Sequence[str], task: Task, tell: Callable[[str], None]) -> Table:
    """Perplexity, and how far the answers move, for each of `KINDS`."""
    title = f"{backbone.name}, {len(texts)} texts of MELD"
    table = Table("stored as", "perplexity", "more", "answers: mean KL", "same likeliest", title=title)
    original = {name: weight.clone() for name, weight in backbone.model.named_parameters()}
    plain, before = perplexity(backbone, texts), answers_of(backbone, texts, task)
    table.add_row("float32", f"{plain:.2f}", "", "", "")
    for kind in KINDS:
        for name, weight in backbone.model.named_parameters():
            made = quantized(original[name], kind)
            weight.data.copy_(original[name] if made is None else made)
        found, after = perplexity(backbone, texts), answers_of(backbone, texts, task)
        divergence = (before.exp() * (before - after)).sum(1).mean().item()
        same = (before.argmax(1) == after.argmax(1)).float().mean().item()
        cells = (kind, f"{found:.2f}", f"{found / plain - 1:+.1%}", f"{divergence:.5f}", f"{same:.0%}")
        table.add_row(*cells)
        tell("  ".join(cells))
    return table


def some(dataset: Any, count: int) -> list[Clip]:
    """Labelled clips of the test split, the same ones each time."""
    clips = [clip for clip in dataset.clips if clip.split == Split.TEST and clip.label is not None]
    drawn = np.random.default_rng(SEED).choice(len(clips), min(count, len(clips)), replace=False)
    return [clips[place] for place in drawn]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backbones", description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="+", help="folders of causal language models")
    parser.add_argument("--shared", type=Path, default=real_data.SHARED, help="folder of the real data")
    parser.add_argument("--work", type=Path, default=Path("data/real"), help="where datasets are kept")
    parser.add_argument("--texts", type=int, default=100, help="of each dataset")
    parser.add_argument("--only", choices=("wordings", "quantization"), help="one of the two measurements")
    arguments = parser.parse_args()
    console = Console(width=140)
    datasets = {name: real_data.DATASETS[name](arguments.shared, arguments.work / name) for name in DATASETS}
    for place in arguments.backbones:
        backbone = backbones.load(place)
        for name, dataset in datasets.items() if arguments.only != "quantization" else ():
            console.print(try_wordings(backbone, name, some(dataset, arguments.texts), dataset.manifest.task))
        if arguments.only != "wordings":
            meld = datasets["meld"]
            texts = [clip.text for clip in some(meld, arguments.texts)]
            console.print(cost_of_quantization(backbone, texts, meld.manifest.task, console.print))


if __name__ == "__main__":
    main()
