"""Evaluation, beside free generation: greedy `generate`, then parsing.

Straightforward, as the reference does: batches of 16 in the order of the clips, every text padded to 65 tokens, which
the backbone attends to, and as many new tokens as an answer has; with the logits of all the prompt's positions, as the
reference does, and with those of the last one alone, as `generate` of today's transformers makes them. Ours reads all
possible answers in one pass, in batches of like length. Both must tell the same where both are right: that is checked
with the padding masked, on a backbone whose output embeddings are moved so that it answers with an answer at all.

A competent script pads in front, each batch to its longest clip, masks the padding, and has `generate` keep keys and
values, make the last position's logits alone, and stop behind the longest answer. `against_competent` measures that one
in processor time, on clips in their order and sorted by length, beside our answers with and without probabilities; that
both answer the same is told by `generate` bound to the answers' tokens, which is not timed.

Run alone with ``python -m benchmarks.evaluating``; its options are those of ``benchmarks.training``. On a processor,
the time is that of the tokens that are read; on a GPU, and with small backbones, that of the number of passes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.language_model import Bench, Sizes
from benchmarks.timing import Ratio, in_turn
from mse_pipeline.backbones.answers import answer_values
from mse_pipeline.task import Classification, Regression, Task
from mse_pipeline.training.examples import Example
from mse_pipeline.training.generation import continuations
from mse_pipeline.training.reading import read
from mse_pipeline.training.scoring import Prediction, decode, predict_examples, score_examples
from mse_pipeline.training.states import PromptStates

BATCH = 16
NUMBERS = Regression(-3.0, 3.0)
SMALL = Sizes(width=512, layers=4, inner=1408, heads=8, vocabulary=32_000)
DEEP = Sizes(width=1024, layers=24, inner=2816, heads=16, vocabulary=32_000)


@torch.no_grad()
def generate(
    bench: Bench, clips: Sequence[Example], size: int = BATCH, *, mask: bool = False, everywhere: bool = False
) -> list[str]:
    """What the backbone generates to each clip; `everywhere`: with logits of all positions of the prompt."""
    # Where a class can leave them out, today's `generate` has it do so.
    bench.backbone.model._supports_logits_to_keep = lambda: not everywhere
    said: list[str] = []
    most = max(map(len, bench.answers.ids))
    for begin in range(0, len(clips), size):
        embeddings, attention, _ = bench.padded(clips[begin : begin + size], mask)
        made = bench.backbone.model.generate(
            inputs_embeds=embeddings,
            attention_mask=attention,
            max_new_tokens=most,
            min_new_tokens=most,
            do_sample=False,
            pad_token_id=0,
        )
        said += bench.backbone.tokenizer.batch_decode(made)
    return said


def parse(said: Sequence[str], task: Task) -> list[float]:
    """The reference's reading of what was generated: what is no number counts as zero."""
    values = []
    for text in said:
        try:
            values.append(int(text) if isinstance(task, Classification) else float(text))
        except ValueError:
            values.append(0.0)
    return values


def ours(bench: Bench, clips: Sequence[Example]) -> list[float]:
    """What the clips are predicted to be, by the scores of all answers."""
    steps = score_examples(
        bench.backbone, bench.adapter, bench.prompt, bench.answers, batcher=bench.batcher, chosen=clips
    )
    return decode(steps, bench.answers).values.tolist()


@torch.inference_mode()
def competent(bench: Bench, clips: Sequence[Example], size: int = BATCH, *, bound: bool = False) -> list[list[int]]:
    """Tokens that a competent script generates to each clip; `bound`: those of answers alone."""
    bench.backbone.model._supports_logits_to_keep = lambda: True
    after, most = continuations(bench.answers.ids), max(map(len, bench.answers.ids))
    only = {"prefix_allowed_tokens_fn": lambda _, said: list(after.following(tuple(said.tolist()))) or [0]}
    said: list[list[int]] = []
    for begin in range(0, len(clips), size):
        batch = bench.batcher.batch(clips[begin : begin + size])
        reading = read(bench.backbone, bench.adapter, bench.prompt, batch)
        made = bench.backbone.model.generate(
            inputs_embeds=reading.embeddings,
            attention_mask=reading.mask.to(torch.int64),
            max_new_tokens=most,
            min_new_tokens=most,
            do_sample=False,
            pad_token_id=0,
            **(only if bound else {}),
        )
        said += made.tolist()
    return said


def predicted(bench: Bench, clips: Sequence[Example], *, probabilities: bool) -> Prediction:
    """Ours, as `mse train` evaluates an epoch, or as it predicts in the end."""
    states = PromptStates(bench.backbone, only_beginning=True)
    return predict_examples(
        bench.backbone,
        bench.adapter,
        bench.prompt,
        bench.answers,
        batcher=bench.batcher,
        chosen=clips,
        states=states,
        probabilities=probabilities,
    )


def against_competent(
    sizes: Sizes, task: Task | None = None, clips: int = 64, *, size: int = BATCH, rounds: int = 3
) -> list[Ratio]:
    """Ours, without probabilities and with them, beside the competent script: processor time, in turn."""
    bench = Bench(sizes) if task is None else Bench(sizes, task)
    bench.adapter.eval()
    chosen = bench.clips[:clips]
    by_length = [chosen[place] for place in sorted(range(clips), key=bench.batcher.lengths(chosen).__getitem__)]
    ways: dict[str, Callable[[], Any]] = {
        "in order": lambda: competent(bench, chosen, size),
        "answers alone": lambda: predicted(bench, chosen, probabilities=False),
        "by length": lambda: competent(bench, by_length, size),
        "with probabilities": lambda: predicted(bench, chosen, probabilities=True),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    made: dict[str, Any] = {}
    for _ in range(rounds):
        for way, call in ways.items():
            begun = time.process_time()
            made[way] = call()
            seconds[way].append(time.process_time() - begun)
    middle = {way: statistics.median(spent) for way, spent in seconds.items()}
    means = dict(zip(bench.answers.ids, answer_values(bench.task), strict=True))
    bound = [means[whole(bench, said)] for said in competent(bench, chosen, size, bound=True)]
    kind = "classes" if isinstance(bench.task, Classification) else "numbers"
    ratios = []
    for asked in ("answers alone", "with probabilities"):
        same_answers = sum(one == other for one, other in zip(bound, made[asked].values.tolist(), strict=True))
        for order in ("in order", "by length"):
            ratios.append(
                Ratio(
                    f"{clips} clips, {kind}, {asked}; competent generate on {size} at once, {order}; {bench.title}",
                    middle[order],
                    middle[asked],
                    f"{same_answers} of {clips} answers are the same, {len(set(bound))} different ones; processor time "
                    f"of ours / generate {middle[asked] / middle[order]:.2f}",
                    {"sizes": asdict(sizes), "clips": clips, "batch": size, "same": same_answers, "seconds": seconds},
                )
            )
    return ratios


def whole(bench: Bench, said: Sequence[int]) -> tuple[int, ...]:
    """The answer with which generated tokens begin."""
    after = continuations(bench.answers.ids)
    return next(ids for end in range(len(said) + 1) if after.answer(ids := tuple(said[:end])) is not None)


@torch.no_grad()
def answer_only(bench: Bench, clips: Sequence[Example]) -> None:
    """Move the output embeddings of the answers' first tokens to where the backbone's last states lie."""
    embeddings, attention, _ = bench.padded(clips, mask=True)
    made = bench.backbone.model.model(inputs_embeds=embeddings, attention_mask=attention, use_cache=False)
    state = made.last_hidden_state[:, -1].float().mean(0)
    head = bench.backbone.model.get_output_embeddings().weight
    reach = 2 * (head.float() @ state).max()
    for token in {ids[0] for ids in bench.answers.ids}:
        head[token] += (state * (reach / state.square().sum())).to(head.dtype)


def same(bench: Bench, clips: Sequence[Example]) -> str:
    """On how many clips generation with its padding masked says the same as ours."""
    answer_only(bench, clips)
    said = generate(bench, clips, mask=True)
    parsed = parse(said, bench.task)
    valid = [text in bench.answers.texts for text in said]
    agree = sum(one == other for one, other, there in zip(parsed, ours(bench, clips), valid, strict=True) if there)
    return f"{agree} of {sum(valid)} that parse are the same, {len(set(parsed))} classes among them"


def measure(
    sizes: Sizes,
    task: Task | None = None,
    clips: int = 64,
    *,
    size: int = BATCH,
    rounds: int = 2,
    everywhere: bool = False,
) -> Ratio:
    """Both ways on some clips."""
    bench = Bench(sizes) if task is None else Bench(sizes, task)
    chosen = bench.clips[:clips]
    bench.adapter.eval()
    classes = isinstance(bench.task, Classification)
    agreement = same(bench, chosen[:32]) if classes else f"{max(map(len, bench.answers.ids))} tokens an answer"
    worked: list[float] = []

    def straightforward() -> list[float]:
        begun = time.process_time()
        values = parse(generate(bench, chosen, size, everywhere=everywhere), bench.task)
        worked.append(time.process_time() - begun)
        return values

    def scored() -> list[float]:
        begun = time.process_time()
        values = ours(bench, chosen)
        worked.append(time.process_time() - begun)
        return values

    slow, fast, _, _ = in_turn(straightforward, scored, rounds, warm=False)
    processor = sum(worked[::2]) / sum(worked[1::2])
    kind = "classes" if classes else "numbers"
    logits = ", logits everywhere" if everywhere else ""
    return Ratio(
        f"{clips} clips, {kind}, generate on {size} at once{logits}; {bench.title}",
        slow,
        fast,
        f"{agreement}; processor time {processor:.2f}",
        {"sizes": asdict(sizes), "clips": clips, "batch": size, "processor": processor},
    )


def run() -> list[Ratio]:
    """For `make bench`: the backbone of the training benchmark, and the one of tests and demos."""
    large, tiny = Sizes(dtype="bfloat16"), Sizes(name="tiny")
    return [
        measure(large, clips=32, everywhere=True),
        measure(large, clips=32),
        measure(large, NUMBERS, clips=32, everywhere=True),
        measure(large, NUMBERS, clips=32),
        measure(tiny),
        measure(tiny, NUMBERS),
        *against_competent(SMALL),
        *against_competent(SMALL, NUMBERS),
        *against_competent(DEEP, clips=32),
        *against_competent(DEEP, NUMBERS, clips=32),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluating")
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch", type=int, default=BATCH, help="clips that generate reads at once")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--everywhere", action="store_true", help="generate makes logits of all positions")
    parser.add_argument("--competent", action="store_true", help="beside a competent script, in processor time")
    parser.add_argument("--numbers", action="store_true", help="answers of four tokens in place of classes")
    arguments = parser.parse_args()
    sizes = Sizes(**{name: getattr(arguments, name) for name in asdict(Sizes())})
    task = NUMBERS if arguments.numbers else None
    options = {"size": arguments.batch, "rounds": arguments.rounds, "everywhere": arguments.everywhere}
    if arguments.competent:
        ratios = against_competent(sizes, task, arguments.clips, size=arguments.batch, rounds=arguments.rounds)
    else:
        ratios = [measure(sizes, task, arguments.clips, **options)]
    for ratio in ratios:
        print(json.dumps(ratio.to_dict(), indent=2))


if __name__ == "__main__":
    main()
