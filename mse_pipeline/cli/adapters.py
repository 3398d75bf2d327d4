"""mse adapters: adapters as folders of files, on this machine and on the hub."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet, Revision, Seed
from mse_pipeline.cli.output import emit_json, remark, settings, stdout
from mse_pipeline.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Trained adapters as files: show, upload, download and import them.")

Token = Annotated[
    bool,
    typer.Option("--token-from-env", help="Use only the hub's token in HF_TOKEN, not that of `hf auth login`."),
]


@app.command("show")
def show(
    adapter: Annotated[str, typer.Argument(help="Folder of an adapter, a seed or a run; or a repository of the hub.")],
    seed: Seed = None,
    revision: Revision = None,
    token_from_env: Token = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show an adapter: its parts, its backbone, the features that it reads, and its results."""
    from mse_pipeline.adapter import hub
    from mse_pipeline.adapter.save import describe

    if Path(adapter).is_dir():
        description = describe(adapter_folder(Path(adapter), seed))
    else:
        if adapter.count("/") != 1 or adapter.startswith((".", "/", "~")):
            raise UsageError(
                f"There is no folder {adapter}. For an adapter on the hub, give its name, as someone/meld-qwen."
            )
        description = hub.peek(adapter, revision=revision, token=_token(token_from_env))
    if settings.json:
        emit_json(description)
    else:
        _show(adapter, description)


@app.command("push")
def push(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of a run, of one of its seeds, or an adapter.")
    ],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="On the hub, as in someone/meld-qwen.")],
    seed: Seed = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    token_from_env: Token = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Upload an adapter with its card to the Hugging Face hub.

    It uploads three files: weights, description and card. They contain no data of the dataset and no path of this
    machine. The card has no licence: write one into the head of README.md before you publish.
    """
    from mse_pipeline.adapter import hub

    chosen = adapter_folder(folder, seed)
    url = hub.push(chosen, repository, private=private, token=_token(token_from_env))
    if settings.json:
        emit_json({"folder": str(chosen), "repository": repository, "commit": url})
    else:
        stdout().print(f"{chosen} is on the hub: {url}", markup=False)


@app.command("pull")
def pull(
    repository: Annotated[str, typer.Argument(metavar="REPO", help="On the hub, as in someone/meld-qwen.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    revision: Revision = None,
    token_from_env: Token = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download an adapter from the Hugging Face hub: only its three files, which are checked first."""
    from mse_pipeline.adapter import hub

    written, commit = hub.pull(repository, folder, revision=revision, token=_token(token_from_env))
    if settings.json:
        emit_json({"repository": repository, "commit": commit, "path": str(written)})
    else:
        stdout().print(f"{written}: {repository} at {commit[:12]}.", markup=False)


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth of the authors' implementation.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    backbone: Annotated[
        str,
        typer.Option(help="Language model that the adapter was trained with: a short name, a hub name, or a folder."),
    ],
    revision: Revision = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a checkpoint of the authors' implementation to an adapter's folder. No code in the file is run."""
    from mse_pipeline.adapter import hub as card
    from mse_pipeline.adapter import save
    from mse_pipeline.adapter.reference import read_checkpoint

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty. Give the name of a new folder.")
    read = read_checkpoint(checkpoint)
    about, width = _backbone(backbone, revision)
    config = read.adapter.config
    if width != config.hidden_size:
        raise UsageError(
            f"{checkpoint} was trained with a backbone of width {config.hidden_size}, but {backbone} has {width}. "
            "Use --backbone with the model that it was trained with."
        )
    save(read.adapter, folder, {"imported_from": checkpoint.name, "backbone": about})
    card.write_card(folder)
    parameters = sum(parameter.numel() for parameter in read.adapter.parameters())
    if settings.json:
        emit_json({"path": str(folder), "parameters": parameters, "ignored": read.ignored, "config": config.to_json()})
    else:
        stdout().print(f"{folder}: {parameters:,} weights, {config.pseudo_tokens} pseudo tokens.", markup=False)
        if read.ignored:
            remark(f"{read.ignored} tensors of the language model were ignored.")


def adapter_folder(path: Path, seed: int | None = None) -> Path:
    """The folder of an adapter: the path itself, that of the seed, or of a run's best seed on the validation split.

    Raises:
        UsageError: There is no adapter.
    """
    from mse_pipeline.adapter.save import DESCRIPTION
    from mse_pipeline.training.run_files import ADAPTER, RUN, choose_seed

    if (path / DESCRIPTION).is_file():
        return path
    if (path / ADAPTER / DESCRIPTION).is_file():
        return path / ADAPTER
    if not (path / RUN).is_file():
        raise UsageError(
            f"{path} has no adapter: it is neither an adapter's folder nor a run with a finished training."
        )
    home, why = choose_seed(path, seed)
    if why:
        remark(why)
    return home / ADAPTER


def _token(from_env: bool) -> str | None:
    """The token of HF_TOKEN, or None to let the hub's client find one. Also keeps the client's bars out of logs.

    Raises:
        UsageError: `from_env` is set, but HF_TOKEN is not.
    """
    if settings.quiet or not sys.stderr.isatty():
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
    if not from_env:
        return None
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise UsageError("--token-from-env needs the variable HF_TOKEN, which is not set.")
    return token


def _backbone(name: str, revision: str | None) -> tuple[dict[str, Any], int]:
    """Name, source and revision of a backbone, and its width, without loading its weights."""
    from mse_pipeline.backbones import registry

    entry = registry.find(name) or registry.by_hub_id(name)
    if entry is not None and entry.hub_id is not None:
        return {"name": entry.name, "source": entry.hub_id, "revision": revision or entry.revision}, entry.hidden_size
    from mse_pipeline.backbones.loading import outline

    drawn = outline(name, revision=revision)
    return {"name": drawn.name, "source": drawn.source, "revision": drawn.revision}, drawn.hidden_size


def _show(name: str, description: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from mse_pipeline.adapter.hub import card_summary

    table = Table(box=SIMPLE_HEAD, show_header=False, show_edge=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for section in card_summary(description):
        for key, value in section:
            table.add_row(Text(key), Text(value))
        table.add_section()
    stdout().print(Text(name, style="bold"))
    stdout().print(table)
