"""README and docs: every command in them is one that mse understands, what they quote is said, and the site builds."""

from __future__ import annotations

import re

import pytest
import typer

from mse_pipeline.cli.app import app
from mse_pipeline.clip import DEFECT_CODES
from tests.pages import PAGES, ROOT, blocks, commands


def understand(words):
    """Parse a command as the command line would, without carrying it out; returns the words that name it."""
    command, parent, named = typer.main.get_command(app), None, []
    while True:
        context = command.make_context(command.name or "mse", list(words), parent)
        rest = [*context._protected_args, *context.args] if hasattr(command, "resolve_command") else []
        if not rest:  # of a group that does something by itself, too
            return named
        name, command, words = command.resolve_command(context, rest)
        named.append(name)
        parent = context


FOUND = [(command.place, words) for page in PAGES for command in commands(page) for words in command.ours]


def test_the_pages_have_commands():
    assert len(FOUND) > 100
    assert len({words[0] for _, words in FOUND}) > 12


def test_a_block_of_commands_says_so_and_is_not_hidden_in_a_list():
    assert [page for page in PAGES if re.search(r"^[ >]+```", page.read_text(encoding="utf-8"), re.MULTILINE)] == []
    unsaid = [block for page in PAGES for block in blocks(page) if not block.language]
    assert [block for block in unsaid if re.search(r"^(mse|pip|make|python) ", block.text, re.MULTILINE)] == []


@pytest.mark.parametrize(("place", "words"), FOUND, ids=[f"{place}-{' '.join(words)}" for place, words in FOUND])
def test_each_command_is_understood(place, words):
    named = understand(words)
    assert named
    assert named == words[: len(named)]


def test_a_command_that_is_not_there_would_be_found():
    for wrong in (["trian"], ["train", "--no-such-option", "1"], ["cache", "shwo"]):
        with pytest.raises(Exception, match="No such"):
            understand(wrong)


SPANS = {
    (page.name, span)
    for page in [*PAGES, *(ROOT / "mse_pipeline").rglob("*.py"), *(ROOT / "pipelines").rglob("*.yaml")]
    for span in re.findall(r"`mse ([a-z][^`{}\\]*)`", re.sub(r'"\s+f?"', "", page.read_text(encoding="utf-8")))
}
"""What is called a command in running text, in messages and in docstrings."""


def unknown_in(span):
    """The first word of a command that mse does not know: a command, or an option of one."""
    command, words = typer.main.get_command(app), span.split()
    while hasattr(command, "commands") and words:
        if words[0] not in command.commands:
            return None if words[0].startswith("-") or command.invoke_without_command else words[0]
        command = command.commands[words.pop(0)]
    known = {"--help", "-h", *(option for part in command.params for option in (*part.opts, *part.secondary_opts))}
    return next((word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known), None)


def test_what_is_called_a_command_in_running_text_is_one():
    assert len(SPANS) > 80
    assert [(page, span, unknown_in(span)) for page, span in sorted(SPANS) if unknown_in(span)] == []
    for wrong, word in (("trian", "trian"), ("train --bakbone tiny", "--bakbone"), ("cache shwo x", "shwo")):
        assert unknown_in(wrong) == word


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
