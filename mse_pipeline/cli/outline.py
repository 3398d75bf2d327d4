"""What `mse train --dry-run` prints: all that a training would be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from mse_pipeline.backbones.answers import Token
    from mse_pipeline.cli.train import Request
    from mse_pipeline.training.dry_run import DryRun, Lengths, Memory
    from mse_pipeline.training.step import TrainingOptions

_PARTS = {
    "head": "head for the answers",
    "acoustic": "acoustic encoder",
    "visual": "visual encoder",
    "mixer": "text-guide mixer (TGM)",
    "fellows": "other members",
    "fusion": "multi-scale fusion (MSF)",
    "projector": "projector",
    "rescale": "size of pseudo tokens",
}


def outline_of(request: Request, options: TrainingOptions, runs: Path) -> DryRun:
    """What `mse train` would do with the same options; the backbone's weights are neither loaded nor fetched."""
    from mse_pipeline.backbones.loading import outline
    from mse_pipeline.backbones.none import NONE, none
    from mse_pipeline.training.dry_run import dry_run
    from mse_pipeline.training.earlier import standing
    from mse_pipeline.training.job import prepare

    choice, wording = request.choose(), request.recipe.prompt
    if request.backbone == NONE:
        drawn = none()
    else:
        drawn = outline(request.backbone, request.dtype, revision=request.revision, quantization=request.quantization)
    if drawn.remark:
        remark(drawn.remark)
    job = prepare(request.dataset, drawn, request.training, choice, wording, selection=request.selection)
    return dry_run(
        job,
        request.dataset,
        choice,
        wording,
        seeds=len(request.seeds or request.training.seeds),
        accumulation=options.accumulation,
        checkpointing=options.checkpointing,
        standing=standing(job.about, job.data, runs),
    )


def show_outline(told: DryRun, request: Request, overwrite: bool = False) -> None:
    """Print it, and what a training of these seeds would find done."""
    seeds = request.seeds or request.training.seeds
    if settings.json:
        emit_json({**told.to_json(), "recipe": request.record()})
        return
    from rich.text import Text

    console = stdout()
    on = f", on {told.backbone['name']}" if told.prompt.example else ""
    parts = [told.variant] if told.model == "mse-adapter" else [told.model, told.variant.removeprefix("adapter")]
    console.print(Text.assemble((told.dataset, "bold"), "".join(f", {part}" for part in parts if part), on))
    tables = [_data(told), _adapter(told), _batch(told), _work(told, request.training.learning_rate)]
    if told.prompt.example:
        tables[3:3] = [_reading(told)]
        tables.append(_prompt(told.prompt.example, told.prompt.example_clip))
    for table in tables:
        console.print(table)
    reused = () if overwrite else told.standing.reused(seeds)
    for sentence in (*told.coverage.shortcomings(), *reused, *told.standing.anew(seeds)):
        note(sentence, console)
    memory = "" if told.memory is None else " Memory is an estimate of the peak; ids of tokens: --json."
    note(f"Nothing was trained or written.{memory}", console)


def _data(told: DryRun) -> Table:
    from rich.markup import escape

    table = _table(
        "\nWhat is read",
        ("", "left"),
        ("clips", "right"),
        ("dims", "right"),
        ("median", "right"),
        ("95 %", "right"),
        ("max", "right"),
        ("", "left"),
    )
    for split, count in told.clips.items():
        table.add_row(f"{split} split", f"{count:,}")
    for modality, stream in told.streams.items():
        if stream is None:
            table.add_row(modality, "–", "", "", "", "", "left out")
        else:
            table.add_row(escape(stream.name), f"{stream.clips:,}", str(stream.dims), *_three(stream.rows), "rows")
    prompt = told.prompt
    if prompt.text is None:
        table.add_row("text", "–", "", "", "", "", "left out")
    else:
        cut = f", {prompt.cut:,} cut to {prompt.room:,}" if prompt.cut else ""
        unit = "tokens" if prompt.example else "tokens or words"
        table.add_row("text", f"{sum(told.clips.values()):,}", "", *_three(prompt.text), f"{unit}{cut}")
    if prompt.previous is not None:
        table.add_row("previous turns", "", "", *_three(prompt.previous), "tokens")
    return table


def _adapter(told: DryRun) -> Table:
    table = _table("\nParameters", ("", "left"), ("", "right"))
    for name, count in told.adapter.items():
        table.add_row(_PARTS.get(name, name), f"{count:,}")
    table.add_section()
    name = "adapter" if told.model == "mse-adapter" else told.model
    table.add_row(f"{name}, trained", "found when it is fitted" if told.fitted else f"{told.trainable:,}", style="bold")
    if told.kept:
        table.add_row(f"{name}, frozen", f"{told.kept:,}")
    if told.prompt.example:
        table.add_row("backbone, frozen", f"{told.backbone['parameters']:,}")
    return table


def _batch(told: DryRun) -> Table:
    table = _table("\nThe largest batch", ("", "left"), ("", "left"))
    for name, shape in told.batch.items():
        axes = ("clips", "rows", "values")[: len(shape)] if len(shape) > 2 else ("clips", "tokens")
        table.add_row(name, " x ".join(f"{size:,} {axis}" for size, axis in zip(shape, axes, strict=True)))
    return table


def _reading(told: DryRun) -> Table:
    prompt = told.prompt
    table = _table("\nA sequence, in tokens", ("", "left"), ("median", "right"), ("max", "right"))
    text, previous = prompt.text, prompt.previous
    table.add_row("start, tags and task prompt", str(prompt.fixed), str(prompt.fixed))
    table.add_row("pseudo tokens", str(prompt.pseudo), str(prompt.pseudo))
    table.add_row("text", *((str(text.median), str(text.largest)) if text else ("–", "–")))
    if previous is not None:
        table.add_row("previous turns", str(previous.median), str(previous.largest))
    answers = prompt.answer_tokens
    table.add_row(
        f"answer, one of {prompt.answers}", *((str(answers.median), str(answers.largest)) if answers else ("–", "–"))
    )
    return table


def _work(told: DryRun, rate: float | str) -> Table:
    table = _table("\nWork and memory", ("", "left"), ("", "right"), ("", "left"))
    if told.fitted:
        table.add_row("steps", "none", "it is fitted to the train split at once")
    else:
        table.add_row("steps an epoch", f"{told.steps_an_epoch:,}", f"of {told.batch_size} clips")
        table.add_row("steps of a training", f"{told.steps:,}", f"at most, in {told.epochs} epochs")
    table.add_row("trainings", str(told.seeds), "one a seed")
    if not told.fitted:
        found = "a range test before each finds it" if rate == "auto" else "at the peak"
        table.add_row("learning rate", rate if isinstance(rate, str) else f"{rate:g}", found)
    table.add_section()
    memory = told.memory
    if memory is None:
        if not told.fitted:
            table.add_row("model and optimiser", size(told.model_bytes), "float32; what a step keeps comes to it")
        return table
    numbers = told.backbone["quantization"] or told.backbone["dtype"]
    table.add_row("backbone's weights", size(memory.weights), str(numbers))
    table.add_row("adapter and optimiser", size(memory.adapter), "float32")
    table.add_row("activations of a step", size(memory.activations), "every clip as long as the longest")
    table.add_row("logits of a step", size(memory.logits), "")
    if memory.states:
        table.add_row("texts that are read once", size(memory.states), "states of the backbone")
    table.add_row("predicting a split", size(memory.scoring), "in place of activations and logits")
    table.add_section()
    table.add_row("memory, at the peak", size(memory.total), _where(memory), style="bold")
    return table


def _prompt(tokens: tuple[Token, ...], clip: str) -> Table:
    """A row a part, with its tokens as `legible` writes them."""
    from rich.text import Text

    title = f"\nThe whole sequence of {clip}: │ is where a token ends within a word"
    table = _table(title, ("part", "left"), ("n", "right"), ("tokens", "left"))
    for part, group in groupby(tokens, key=lambda token: token.part):
        pieces = [token.piece for token in group]
        line = Text(legible(pieces))
        line.highlight_regex("│", "dim")
        table.add_row(part, str(len(pieces)), line)
    return table


def legible(pieces: Sequence[str]) -> str:
    r"""Tokens as a text that breaks between words: a space before a token that begins with one, a bar before others.

    A space that is a token of its own, or stands within one or before the first, is written ␣; a line end \n.

    Examples:
        >>> legible(["▁The", "▁b", "oo", "k", "▁", "is", "."]), legible(["so", " on", "!"])
        ('␣The b│oo│k ␣│is│.', 'so on│!')
    """
    parts = []
    for place, piece in enumerate(pieces):
        text = piece.replace("\n", "\\n").replace(" ", "␣").replace("▁", "␣")
        begins = text.startswith("␣")
        alone = text.strip("␣") == ""
        if place:
            parts.append(" " if begins else "│")
        parts.append(text[1:] if begins and place and not alone else text)
    return "".join(parts)


def _where(memory: Memory) -> str:
    return "in a step" if memory.activations + memory.logits >= memory.scoring else "in predicting a split"


def _three(lengths: Lengths | None) -> tuple[str, str, str]:
    if lengths is None:
        return "–", "–", "–"
    return f"{lengths.median:,}", f"{lengths.most:,}", f"{lengths.largest:,}"


def size(count: int) -> str:
    """Bytes, to be read.

    Examples:
        >>> size(999), size(12_345_678), size(14_000_000_000)
        ('0.0 MB', '12.3 MB', '14.0 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _table(title: str, *columns: tuple[str, str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        show_header=any(name for name, _ in columns),
        pad_edge=False,
    )
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table
