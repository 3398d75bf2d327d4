"""The examples in the help of every command: there are two, and they are what the command takes."""

import shlex

import pytest
import typer

from mse_pipeline.cli.app import app
from mse_pipeline.cli.examples import EXAMPLES, commands

LINES = [(name, line) for name, lines in EXAMPLES.items() for line in lines]
CHEAP = ("datasets show", "recipes list", "recipes show", "cite")


@pytest.fixture(scope="module")
def whole():
    """The command `mse`."""
    return typer.main.get_command(app)


def test_every_command_has_two():
    assert {name for name, _ in commands(app)} == set(EXAMPLES)
    assert all(len(set(lines)) == 2 for lines in EXAMPLES.values())


@pytest.mark.parametrize(("name", "line"), LINES)
def test_a_command_takes_its_example(whole, name, line):
    words = shlex.split(line.partition(" > ")[0])
    asked = name.split()
    assert words[: 1 + len(asked)] == ["mse", *asked]
    command = whole
    for part in asked:
        command = command.commands[part]
    command.make_context(name, words[1 + len(asked) :])


@pytest.mark.parametrize("line", [line for name, line in LINES if name in CHEAP and "runs/" not in line])
def test_what_costs_little_is_carried_out(mse, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = mse(*shlex.split(line)[1:])
    assert (result.code, result.out != "") == (0, True)


@pytest.mark.parametrize("name", ["extract", "cache show"])
def test_the_help_ends_with_them(mse, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    told = " ".join(mse(*name.split(), "--help").out.split())
    assert all(line in told for line in EXAMPLES[name])
