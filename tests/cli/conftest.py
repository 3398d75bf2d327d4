import json
import sys

import pytest

from mse_pipeline.cli import main
from mse_pipeline.cli.output import settings


class Result:
    """What a command printed, and its exit code."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture
def mse(monkeypatch, capsys):
    """Run `mse` in this process."""

    def run(*arguments):
        settings.json = settings.quiet = settings.debug = False
        monkeypatch.setattr(sys, "argv", ["mse", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
