"""mse ui: a page in the browser over a cache and its runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mse_pipeline.cli import Stopped
from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet, RunsDir
from mse_pipeline.cli.output import complain, emit_json, settings, stdout

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def command(
    cache: CacheDir = None,
    runs: RunsDir = Path("runs"),
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that media paths start from. [default: where each dataset was extracted from]",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port. [default: the first that is free from 7860]", show_default=False)
    ] = None,
    megabytes: Annotated[int, typer.Option("--max-upload", min=1, metavar="MB", help="Largest upload.")] = 500,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Browse clips and runs, and predict new ones, in the browser. Needs the extra ui.

    It listens on this machine alone. Over ssh: ssh -L 7860:127.0.0.1:7860 HOST, then open http://127.0.0.1:7860.
    """
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.ui import Places, described, serve

    places = Places(open_cache(cache), runs)
    if host not in _LOOPBACK:
        complain(f"Whoever reaches {host} can see these clips and have files predicted here. There is no password.")
    page, address = serve(places, root=root, host=host, port=port, megabytes=megabytes)
    if settings.json:
        emit_json({"address": address, **dict(described(places))})
    else:
        stdout().print(f"{address}  Stop it with Ctrl+C.", markup=False)
    try:
        while True:
            time.sleep(3600)
    except Stopped as stop:  # as it is meant to end: nothing is left to go on with
        raise typer.Exit(stop.exit_code) from None
    finally:
        page.close()
