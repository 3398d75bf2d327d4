"""mse verify: a run's backbone is its original checkpoint, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Device, Json, Quiet
from mse_pipeline.cli.output import complain, emit_json, remark, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.training.verification import RunFolder

TEXTS = 8


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as in runs/meld-qwen-full-1a2b3c4d.")],
    cache: CacheDir = None,
    texts: Annotated[int, typer.Option(min=1, help="Test clips whose texts are read.")] = TEXTS,
    device: Device = "cpu",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show that training left the backbone as it was: its digest, and its logits without the adapter.

    The checkpoint is loaded again as for training, and by transformers alone; one in an original layout is converted
    to a temporary folder for that. Exit code 1 if a bit differs.
    """
    from dataclasses import asdict

    from mse_pipeline.training.verification import open_run, verify

    opened = open_run(run)
    checks = verify(opened, _texts(opened, cache, texts), device)
    same = all(check.same for check in checks)
    if settings.json:
        emit_json({"run": str(run), "same": same, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            stdout().print(f"{'same  ' if check.same else 'DIFFER'}  {check.what}: {check.found}", markup=False)
    if not same:
        complain(f"The backbone of {run} is not, or did not stay, its original checkpoint: its results are void.")
        raise typer.Exit(1)


def _texts(run: RunFolder, cache: str | None, count: int) -> list[str]:
    """Texts of test clips; where the dataset is not in the cache, the prompt alone is read."""
    from mse_pipeline.clip import Split
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    if run.dataset not in opened:
        remark(f"The cache {opened.path} has no dataset {run.dataset}, so the prompt is read without a clip's text.")
        return [""]
    clips = opened[run.dataset].clips
    chosen = [clip.text for clip in clips if clip.split == Split.TEST] or [clip.text for clip in clips]
    return chosen[:count] or [""]
