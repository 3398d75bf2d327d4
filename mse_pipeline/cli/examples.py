"""Two examples of every command, which stand at the end of its help."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.models import CommandInfo

EXAMPLES: dict[str, tuple[str, str]] = {
    "extract": ("mse extract meld --root data/MELD.Raw", "mse extract clips.csv --features egemaps-mtcnn --limit 20"),
    "train": (
        "mse train meld --backbone qwen3-0.6b --seed 1 --seed 2",
        "mse train mosi --model mult --without acoustic",
    ),
    "evaluate": ("mse evaluate runs/NAME --split valid", "mse evaluate runs/NAME --drop acoustic=0.3 --drop text=0.1"),
    "predict": (
        "mse predict runs/NAME talk.mp4 --text 'so it is'",
        "mse predict runs/NAME clips.csv --out predictions.csv",
    ),
    "report": ("mse report --out results.tex --out results.html", "mse report runs/A runs/B"),
    "demo": ("mse demo", "mse demo --out /tmp/demo --seed 1"),
    "doctor": ("mse doctor", "mse doctor --cache /data/features --json"),
    "ui": ("mse ui", "mse ui --cache /data/cache --runs /data/runs --port 8000"),
    "selftest": ("mse selftest", "mse selftest --json"),
    "cite": ("mse cite runs/NAME > references.bib", "mse cite meld acoustic.egemaps mult"),
    "inspect": ("mse inspect train/dia0_utt0", "mse inspect meld --sheet faces.html"),
    "import": (
        "mse import mmsa unaligned_50.pkl --option corpus=mosi",
        "mse import openface processed/ --name meld",
    ),
    "export": (
        "mse export mosi mmsa mosi.pkl --streams acoustic.egemaps --streams visual.mtcnn",
        "mse export mosei hf mosei-features",
    ),
    "cache ls": ("mse cache ls", "mse cache ls --cache s3://BUCKET/cache --json"),
    "cache show": ("mse cache show meld --failures", "mse cache show meld --statistics --stream acoustic.egemaps"),
    "cache verify": ("mse cache verify", "mse cache verify meld --repair --root data/MELD.Raw"),
    "cache compact": ("mse cache compact", "mse cache compact meld --json"),
    "cache prune": ("mse cache prune --dry-run", "mse cache prune meld --keep-versions"),
    "datasets list": ("mse datasets list", "mse datasets list --json"),
    "datasets show": ("mse datasets show meld", "mse datasets show simsv2 --json"),
    "datasets check": (
        "mse datasets check meld --root data/MELD.Raw",
        "mse datasets check clips.csv --decode --csv defects.csv",
    ),
    "datasets export": (
        "mse datasets export meld --out clips.csv",
        "mse datasets export mosei --out mosei.parquet --root /data/mosei",
    ),
    "recipes list": ("mse recipes list", "mse recipes list --json"),
    "recipes show": ("mse recipes show meld", "mse recipes show meld --set training.epochs=3"),
    "recipes copy": ("mse recipes copy meld my-meld.yaml", "mse recipes copy egemaps-mtcnn my-features.yaml --force"),
    "recipes check": ("mse recipes check mine.yaml", "mse recipes check mine.yaml --set alignment.step=0.2"),
    "backbones list": ("mse backbones list", "mse backbones list --json"),
    "backbones show": ("mse backbones show qwen3-0.6b", "mse backbones show tiny --dataset meld"),
    "backbones convert": (
        "mse backbones convert Qwen-1_8B qwen-1.8b",
        "mse backbones convert chatglm3-6b-base chatglm3 --json",
    ),
    "adapters show": ("mse adapters show runs/NAME", "mse adapters show YOUR-NAME/meld-adapter --revision main"),
    "adapters push": (
        "mse adapters push runs/NAME YOUR-NAME/meld-adapter",
        "mse adapters push runs/NAME YOUR-NAME/meld-draft --private --seed 2",
    ),
    "adapters pull": (
        "mse adapters pull YOUR-NAME/meld-adapter meld-adapter",
        "mse adapters pull YOUR-NAME/meld-adapter meld-adapter-main --revision main",
    ),
    "adapters import": (
        "mse adapters import meld.pth meld-tiny --backbone tiny",
        "mse adapters import meld.pth meld-qwen --backbone qwen --json",
    ),
    "extractors list": ("mse extractors list", "mse extractors list --json"),
    "extractors show": ("mse extractors show acoustic.egemaps", "mse extractors show visual.mtcnn --json"),
    "extractors sets": ("mse extractors sets", "mse extractors sets egemaps-mtcnn"),
    "extractors compare": (
        "mse extractors compare meld/acoustic.egemaps meld/acoustic.librosa",
        "mse extractors compare meld/visual.mtcnn meld/visual.yunet --clips 50",
    ),
}


def commands(app: typer.Typer, before: str = "") -> Iterator[tuple[str, CommandInfo]]:
    """Every command by what is typed after ``mse``."""
    for command in app.registered_commands:
        yield f"{before}{command.name}", command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from commands(group.typer_instance, f"{before}{group.name} ")


def add_examples(app: typer.Typer) -> None:
    """Put the examples at the end of each command's help."""
    for name, command in commands(app):
        if name in EXAMPLES:
            command.epilog = "\n\n".join(["For example:", *(f"- `{line}`" for line in EXAMPLES[name])])
