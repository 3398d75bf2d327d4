"""A training step, beside the straightforward one: its time and its memory.

Straightforward, as the reference does: every text is padded to 65 tokens, which the backbone attends to, and logits of
the whole vocabulary are computed at every position, of which the loss takes those of the answer by labels of -100.
Backbone class, adapter, optimiser and clips are the same. Ours reads batches of clips of like length; the batches that
are timed lie at even distances among those of an epoch, from the shortest to the longest.

Run alone with ``python -m benchmarks.training``; ``--device cuda --dtype bfloat16 --width 2048 --layers 24`` and so on
measure another backbone, on another device.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.language_model import Bench, Sizes
from benchmarks.timing import Ratio
from mse_pipeline.training.batches import epoch_batches
from mse_pipeline.training.examples import Example
from mse_pipeline.training.objective import answer_loss
from mse_pipeline.training.reading import Reading, answer_logits

BATCH = 16


def full_logits(bench: Bench, chosen: Sequence[Example]) -> torch.Tensor:
    """The straightforward way's loss."""
    prompt, _, _ = bench.padded(chosen)
    right = torch.tensor([bench.answers.ids[clip.target] for clip in chosen], device=prompt.device)
    whole = torch.cat([prompt, bench.backbone.embed(right)], dim=1)
    labels = torch.full(whole.shape[:2], -100, device=prompt.device)
    labels[:, prompt.shape[1] :] = right
    loss: torch.Tensor = bench.backbone.model(inputs_embeds=whole, labels=labels, use_cache=False).loss
    return loss


def last_logits(bench: Bench, chosen: Sequence[Example]) -> torch.Tensor:
    """The same, with logits of the answer's position alone: to tell which improvement gives how much."""
    prompt, attention, _ = bench.padded(chosen)
    right = torch.tensor([bench.answers.ids[clip.target][0] for clip in chosen], device=prompt.device)
    logits = answer_logits(bench.backbone, Reading(prompt, attention.bool()), keep=1)
    return torch.nn.functional.cross_entropy(logits[:, 0].float(), right)


def ours(bench: Bench, chosen: Sequence[Example]) -> torch.Tensor:
    """Padding masked and cut, logits where the answer is."""
    return answer_loss(bench.backbone, bench.adapter, bench.prompt, bench.answers, bench.batcher.batch(chosen))


Way = Callable[[Bench, Sequence[Example]], torch.Tensor]
WAYS: dict[str, Way] = {"straightforward": full_logits, "last logits": last_logits, "ours": ours}


def step(bench: Bench, loss_of: Way, chosen: Sequence[Example]) -> tuple[float, float]:
    """One step; seconds on the clock, and seconds of the processor, which a busy machine alters less."""
    begun, worked = time.perf_counter(), time.process_time()
    loss = loss_of(bench, chosen)
    bench.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    bench.optimiser.step()
    loss.item()  # waits for the device
    return time.perf_counter() - begun, time.process_time() - worked


def batches(bench: Bench, count: int) -> tuple[list[list[Example]], list[list[Example]]]:
    """Batches of like length, and as many drawn at random."""
    lengths = bench.batcher.lengths(bench.clips)
    order = torch.Generator().manual_seed(0)
    like = sorted(epoch_batches(lengths, BATCH, order), key=lambda one: max(lengths[place] for place in one))
    chosen = [like[(2 * index + 1) * len(like) // (2 * count)] for index in range(count)]
    drawn = torch.randperm(len(lengths), generator=order)[: count * BATCH].reshape(count, BATCH).tolist()
    return [[[bench.clips[place] for place in one] for one in kind] for kind in (chosen, drawn)]


def compare(sizes: Sizes, steps: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Mean seconds a step of each way on both clocks, in turn on the same model; one improvement after the other."""
    bench = Bench(sizes)
    like, drawn = batches(bench, steps)
    kinds: list[tuple[str, Way, list[list[Example]]]] = [
        ("straightforward", full_logits, drawn),
        ("logits at the answer", last_logits, drawn),
        ("and padding cut", ours, drawn),
        ("ours", ours, like),
    ]
    taken: dict[str, list[list[tuple[float, float]]]] = {name: [[] for _ in range(steps)] for name, _, _ in kinds}
    for _, way, chosen in kinds:
        step(bench, way, chosen[0][:2])  # warm
    for _ in range(rounds):
        for place in range(steps):
            for name, way, chosen in kinds:
                taken[name][place].append(step(bench, way, chosen[place]))
    return {name: (_mean(every, 0), _mean(every, 1)) for name, every in taken.items()}


def _mean(every: list[list[tuple[float, float]]], clock: int) -> float:
    return statistics.mean(statistics.median(one[clock] for one in step) for step in every)


def peak(sizes: Sizes, way: str) -> float:
    """Bytes that two steps take above the loaded model, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.training", "--peak", way, "--sizes", json.dumps(asdict(sizes))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_peak(sizes: Sizes, way: str) -> float:
    """The same, in this process: of a GPU what torch allocated, of a CPU the peak of the resident memory.

    The system's count of the peak is set back once the model is loaded; where it cannot be, loading is in it.
    """
    bench = Bench(sizes)
    like, drawn = batches(bench, 2)
    chosen = like if way == "ours" else drawn
    longest = max(chosen, key=lambda one: max(bench.batcher.lengths(one)))
    if sizes.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            print("the peak cannot be set back; loading is in it", file=sys.stderr)
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    for _ in range(2):
        step(bench, WAYS[way], longest)
    if sizes.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() - before
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 - before


def measure(sizes: Sizes, steps: int = 2, rounds: int = 2) -> Ratio:
    """Both ways' time and memory."""
    seconds = compare(sizes, steps, rounds)
    slow = seconds["straightforward"]
    shares = ", ".join(f"{name} {slow[0] / one[0]:.2f}" for name, one in seconds.items() if name != "straightforward")
    worked = slow[1] / seconds["ours"][1]
    memory = {way: peak(sizes, way) for way in ("straightforward", "ours")}
    told = " of ".join(f"{memory[way] / 2**20:,.0f}" for way in ("ours", "straightforward"))
    made = f"{sizes.layers} layers of {sizes.width}"
    return Ratio(
        f"training step of {BATCH} clips; {sizes.name or made}, {sizes.dtype}",
        slow[0],
        seconds["ours"][0],
        f"{shares}; processor time {worked:.2f}; peak memory {told} MiB",
        {
            "seconds": seconds,
            "peak_bytes": memory,
            "memory_share": memory["ours"] / memory["straightforward"],
            "sizes": asdict(sizes),
        },
    )


def run() -> list[Ratio]:
    """For `make bench`."""
    torch.manual_seed(0)
    return [measure(Sizes(dtype="float32"), steps=1, rounds=1), measure(Sizes(dtype="bfloat16"))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(measure_peak(Sizes(**arguments.sizes), arguments.peak))
        return
    sizes = Sizes(**{name: getattr(arguments, name) for name in asdict(Sizes())})
    print(json.dumps(measure(sizes, arguments.steps, arguments.rounds).to_dict(), indent=2))


if __name__ == "__main__":
    main()
