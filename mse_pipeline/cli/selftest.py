"""mse selftest: whether features come out here as they do elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, printable, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.selftest import Finding


def command(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Make the features of three short clips, and compare them with those that are stored in the package.

    Processors and library versions differ in the last bits; each stream has a bound for that. What goes beyond is
    another library or another weight file: do not mix its features with those of other machines. Exit code 1 then.
    """
    from mse_pipeline.selftest import CLIPS, compare

    findings = []
    for finding in compare():
        findings.append(finding)
        if not settings.json:
            _show(finding)
    wrong = [finding.stream for finding in findings if not finding.ok]
    if settings.json:
        emit_json({"ok": not wrong, "clips": list(CLIPS), "findings": [finding.to_dict() for finding in findings]})
    else:
        end = f"Not as elsewhere: {', '.join(wrong)}." if wrong else "Features come out here as they do elsewhere."
        stdout().print(f"\n{end}")
    if wrong:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    from rich.text import Text

    line = Text("ok       " if finding.ok else "differs  ", style="green" if finding.ok else "bold red")
    line.append(f"{finding.stream}: ", style="bold")
    bound = f"bound {finding.bound.deviations:g} deviations in all but {finding.bound.share:.0%} of the values"
    if finding.values:
        differs = f"{finding.differ:.1%} of {finding.values:,} values beyond it" if finding.differ else "none beyond it"
        line.append(f"at most {finding.greatest:.2g} deviations off, {differs} ({bound})", style="none")
    if finding.greatest > finding.bound.deviations:
        line.append(f"; most in {printable(finding.where)}", style="none")
    if finding.problem:
        line.append(f"{'. ' if finding.values else ''}{printable(finding.problem)}", style="none")
    stdout().print(line, soft_wrap=True)
