"""README and docs: every command in them is one that mse understands, what they quote is said, and the site builds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from mse_pipeline.cli.app import app
from mse_pipeline.clip import DEFECT_CODES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "cache/README.md"])
SHELL = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(text):
    """What stands in the shell blocks of a page after ``mse``, word by word."""
    for block in SHELL.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s&&\s|\s\|\s", line):
                words = shlex.split(part.removeprefix("$ "), comments=True)
                if words[:1] == ["mse"] and "…" not in words:
                    yield words[1:]


def understand(words):
    """Parse a command as the command line would, without carrying it out; returns the words that name it."""
    command, parent, named = typer.main.get_command(app), None, []
    while True:
        context = command.make_context(command.name or "mse", list(words), parent)
        if not hasattr(command, "resolve_command"):
            return named
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        named.append(name)
        parent = context


FOUND = [(page, words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]


def test_the_pages_have_commands():
    assert len(FOUND) > 100
    assert len({words[0] for _, words in FOUND}) > 12


@pytest.mark.parametrize(("page", "words"), FOUND, ids=[f"{page.stem}-{' '.join(words)}" for page, words in FOUND])
def test_each_command_is_understood(page, words):
    named = understand(words)
    assert named
    assert named == words[: len(named)]


def test_a_command_that_is_not_there_would_be_found():
    for wrong in (["trian"], ["train", "--no-such-option", "1"], ["cache", "shwo"]):
        with pytest.raises(Exception, match="No such"):
            understand(wrong)


TROUBLES = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ELSEWHERE = {"operator torchvision::nms does not exist", "mse: command not found"}
"""What torch and the shell say."""


def test_messages_are_quoted_as_they_are_said():
    table = TROUBLES.partition("## By message")[2].partition("## By code")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    quoted = {quote for cell in first for quote in re.findall(r"`([^`]+)`", cell)}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mse_pipeline").rglob("*.py"))
    plain = re.sub(r'"\s+f?"', "", source)
    assert len(quoted) > 12
    assert {quote for quote in quoted if quote not in plain} <= ELSEWHERE


def test_codes_are_those_of_clips():
    table = TROUBLES.partition("## By code")[2].partition("## By symptom")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    codes = {code for cell in first for code in re.findall(r"`([^`]+)`", cell)}
    assert len(codes) > 10
    assert codes <= set(DEFECT_CODES)


def test_the_site_builds_without_a_warning(tmp_path):
    mkdocs = pytest.importorskip("mkdocs.commands.build", reason="needs mkdocs: pip install 'mse-pipeline[docs]'")
    from mkdocs.config import load_config

    # Strict: a warning, as of a link or an anchor that leads nowhere, is an error.
    mkdocs.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    assert "adapter" in (tmp_path / "api/index.html").read_text(encoding="utf-8")
    assert not re.findall(
        r'(?:src|href)="(?:https?:)?//[^"]*\.(?:js|css|woff2?)"', (tmp_path / "index.html").read_text()
    )
