"""mse backbones: list and show language models, print a prompt token by token, convert original checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet, Revision, Set
from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.backbones import Availability
    from mse_pipeline.backbones.answers import Token
    from mse_pipeline.task import Task

app = typer.Typer(
    no_args_is_help=True,
    help="Frozen language models: list them, show one and its prompt, convert original checkpoints.",
)

SPOKEN = {"en": "Oh my god, I can't believe that you did this to me!", "zh": "你怎么可以这样对我？我真的很难过。"}
"""Text of the clip in the example."""

Name = Annotated[str, typer.Argument(help="A short name (qwen, chatglm3), a hub name, a folder, or a GGUF file.")]


@app.command("list")
def list_(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the backbones that have a short name: size, licence, and whether they are on this machine."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline import backbones

    rows = backbones.describe()
    if settings.json:
        emit_json({"backbones": [_to_dict(row) for row in rows]})
        return
    table = Table(box=SIMPLE_HEAD)
    for column, justify in (("backbone", "left"), ("width", "right"), ("GB", "right"), ("here", "left")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("licence", overflow="fold")
    table.add_column("on the hub", overflow="fold")
    for row in rows:
        entry = row.entry
        state = "ready" if row.ready else "gated" if entry.gated else "download"
        size = f"{entry.gigabytes:.1f}"
        table.add_row(
            entry.name, str(entry.hidden_size), size, state, escape(entry.licence), escape(entry.hub_id or "–")
        )
    stdout().print(table)
    note("GB: weights in half precision. Other causal language models of the hub can be used by their hub name.")
    note("What is missing for a backbone, and its prompt: mse backbones show NAME --example")


@app.command("show")
def show(
    name: Name,
    example: Annotated[
        bool, typer.Option("--example", help="Print a whole prompt with its answer, one token per line.")
    ] = False,
    dataset: Annotated[str, typer.Option(help="Dataset or recipe file; its prompt is shown.")] = "meld",
    changes: Set = None,
    label_words: Annotated[
        bool, typer.Option("--label-words", help="Answers are class names instead of indices.")
    ] = False,
    revision: Revision = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show a backbone: size, licence, what is missing, and its prompt."""
    from mse_pipeline.backbones import registry

    entry = registry.find(name) or registry.by_hub_id(name)
    row = next((row for row in registry.describe() if row.entry == entry), None)
    value: dict[str, Any] = {"name": name} if row is None else _to_dict(row)
    if row is None and not example:
        from mse_pipeline.backbones.loading import outline

        drawn = outline(name, revision=revision)
        parameters = sum(weight.numel() for weight in drawn.model.parameters())
        value |= {"family": drawn.family, "tokens": len(drawn.tokenizer), "hidden_size": drawn.hidden_size}
        value |= {"parameters": parameters, "stored_as": drawn.stored_as}
    if not settings.json:
        for key, item in value.items():
            text = ", ".join(item) if isinstance(item, tuple | list) else "–" if item in (None, "") else str(item)
            stdout().print(f"{key:<12}{text}", markup=False)
    if example:
        tokens = _example(name, dataset, changes or (), label_words, revision)
        value["example"] = {"dataset": dataset, "tokens": [vars(token) for token in tokens]}
        if not settings.json:
            _show_tokens(tokens)
    if settings.json:
        emit_json(value)


@app.command("convert")
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Qwen-1 or ChatGLM2/3 in its original layout.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder.")],
    revision: Revision = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert an original checkpoint of 2023 to a folder of transformers with the same weights, bit by bit.

    This is not necessary: `--backbone` reads the original, too. But it saves seconds at each start, and other tools can
    read the result.
    """
    from mse_pipeline import backbones

    written = backbones.convert(source, destination, revision=revision)
    size = sum(path.stat().st_size for path in written.iterdir())
    if settings.json:
        emit_json({"source": source, "path": str(written), "bytes": size})
    else:
        stdout().print(f"{written}, {size / 1e6:.1f} MB.", markup=False)
        remark(f"Use it: mse train --backbone {written}")


def _to_dict(row: Availability) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(row.entry), "gigabytes": round(row.entry.gigabytes, 2), "ready": row.ready, "needs": row.needs}


def _example(
    name: str, dataset: str, changes: Sequence[str], label_words: bool, revision: str | None
) -> tuple[Token, ...]:
    from mse_pipeline import backbones, recipe
    from mse_pipeline.backbones.answers import example
    from mse_pipeline.task import Regression

    read = recipe.with_settings(recipe.load(dataset), changes)
    task = read.task or _task(read.corpus.name)
    words = label_words or read.prompt.label_words
    tokenizer, family = backbones.load_tokenizer(name, revision=revision)
    return example(
        tokenizer,
        family,
        task,
        text=SPOKEN[read.prompt.language],
        label=round(0.4 * task.high, 1) if isinstance(task, Regression) else task.classes[0],
        given=None if label_words else read.prompt.task,
        language=read.prompt.language,
        pseudo_tokens=read.training_for(name).pseudo_tokens,
        label_words=words,
    )


def _task(corpus: str) -> Task:
    """The default task of a corpus, for a recipe without a task.

    Raises:
        UsageError: The task is known only when the clips are read.
    """
    from mse_pipeline import corpora
    from mse_pipeline.errors import UsageError

    task = corpora.facts(corpus).predicts
    if task is None:
        raise UsageError(f"The task of {corpus} is known only from its clips. Add a section task to the recipe.")
    return task


def _show_tokens(tokens: tuple[Token, ...]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table("part", "id", "token", box=SIMPLE_HEAD)
    last = None
    for token in tokens:
        spelled = token.piece.replace("\n", "\\n").replace(" ", "␣")
        table.add_row(
            "" if token.part == last else token.part, "–" if token.id is None else str(token.id), escape(spelled)
        )
        last = token.part
    stdout().print(table)
    answer = tokens.index(next(token for token in tokens if token.part == "answer"))
    note(f"The model reads {answer} tokens; the answer follows.")
