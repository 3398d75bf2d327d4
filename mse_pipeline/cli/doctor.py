"""mse doctor: what of this machine does not fit, each with the line that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, printable, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.doctor import Finding

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def command(cache: CacheDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Look for what keeps mse from working here, and print the line that mends it.

    Versions that do not fit together, libraries that cannot be imported, GPU, memory, disk, the cache, the hub of
    models, extractors that lack something, and licences. Nothing is changed. Exit code 1 where something fails.
    """
    from mse_pipeline.doctor import examine

    findings = []
    for finding in examine(cache):
        findings.append(finding)
        if not settings.json:
            _show(finding)
    problems = sum(finding.state == "problem" for finding in findings)
    if settings.json:
        emit_json({"problems": problems, "findings": [finding.to_dict() for finding in findings]})
    else:
        end = f"{problems} problem{'s' * (problems != 1)}." if problems else "Nothing keeps mse from working."
        stdout().print(f"\n{end}")
    if problems:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    from rich.text import Text

    console = stdout()
    line = Text(f"{finding.state:8}", style=_STYLES[finding.state])
    line.append(f"{printable(finding.subject)}: ", style="bold")
    line.append(printable(finding.found), style="none")
    console.print(line, soft_wrap=True)
    if finding.mend:
        console.print(Text(f"{'':8}{printable(finding.mend)}", style="cyan"), soft_wrap=True)
