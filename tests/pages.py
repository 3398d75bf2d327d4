"""Pages of the documentation as their readers take them: blocks of code, and the commands in those of a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "cache/README.md"])
SHELLS = ("sh", "bash", "console")
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """A page below the repository, as in ``docs/zh/index.md``."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A block of code: the page, the line of its first line, its language (empty where none is told), its text."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """All blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(name_of(page), text.count("\n", 0, found.start(2)) + 1, found[1], found[2])


@dataclass(frozen=True)
class Command:
    """What a reader types at once: its place, as in ``README.md:12``, and the line without its remark."""

    place: str
    line: str

    @property
    def number(self) -> int:
        """The line of the page."""
        return int(self.place.rpartition(":")[2])

    @cached_property
    def parts(self) -> list[list[str]]:
        """The words of each command of the line."""
        parts: list[list[str]] = [[]]
        for word in shlex.split(self.line):
            if word in ("&&", "|"):
                parts.append([])
            else:
                parts[-1].append(word)
        return parts

    @property
    def ours(self) -> list[list[str]]:
        """The words after ``mse``, or after ``-m mse_pipeline.cli``, of each command that is ours."""
        found = []
        for words in self.parts:
            if "mse_pipeline.cli" in words:
                found.append(words[words.index("mse_pipeline.cli") + 1 :])
            elif (named := [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)])[:1] == ["mse"]:
                found.append(named[1 : named.index(">") if ">" in named else None])
        return found


def commands(page: Path) -> Iterator[Command]:
    """The lines of the shell blocks of a page in their order; a line that goes on in the next is one."""
    for block in blocks(page):
        if block.language in SHELLS:
            yield from _lines(block)


def _lines(block: Block) -> Iterator[Command]:
    begun, start = "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        start = start if begun else number
        begun += line.removeprefix("$ ")
        if begun.endswith("\\"):
            begun = begun[:-1].rstrip() + " "
            continue
        bare = re.sub(r"(^|\s)#.*", "", begun).strip()
        if bare:
            yield Command(f"{block.page}:{start}", bare)
        begun = ""
