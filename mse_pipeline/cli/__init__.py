"""The commands: parse, call, print. Heavy things are imported inside the commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `mse`: errors that a user may meet become one sentence and an exit code, see `mse_pipeline.errors`.

    Of several processes that torchrun or its like have started, one speaks: the main one, or the first to fail.
    """
    from mse_pipeline.cli.app import app
    from mse_pipeline.cli.output import complain, settings
    from mse_pipeline.cli.process import SENTENCE, Stopped, one_voice, stoppable
    from mse_pipeline.errors import MseError, explain

    try:
        with stoppable(), one_voice():
            app(prog_name="mse")
    except Stopped as stop:
        complain(SENTENCE)
        sys.exit(stop.exit_code)
    except MseError as error:
        if settings.debug:
            raise
        complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as `mse report | head` does: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if settings.debug:
            raise
        complain(explain(error))
        sys.exit(1)
