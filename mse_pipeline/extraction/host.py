"""Host: the handle of a process that works on clips and may die of one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mse_pipeline.errors import MseError
from mse_pipeline.extraction.task import Step, Task, Todo

if TYPE_CHECKING:
    from mse_pipeline.extraction.clip_run import Made

_LOAD_SECONDS = 1800.0
_LAST_WORDS = 2000
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mse_pipeline.extraction.host_main import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class HostLost(Exception):
    """The host is gone.

    Attributes:
        step: Where the clip was; None if its work had not begun, so that the host did not die of it.
        hung: Whether the host was stopped because the clip took too long.
        how: What is known of the end, as the end of a sentence.
    """

    def __init__(self, step: Step | None, how: str, hung: bool = False) -> None:
        super().__init__(how)
        self.step, self.how, self.hung = step, how, hung


class Host:
    """A process with the models of a task's streams.

    It is started at once and loads its models while its supervisor does other things; the first clip waits for them.

    Args:
        task: Says which streams, on which device, with how many threads.
    """

    def __init__(self, task: Task) -> None:
        self._channel, theirs = multiprocessing.Pipe()
        watched, self._lifeline = os.pipe()
        # Arenas of freed memory, one a thread, are what makes a decoding process grow without end.
        settings = {"MALLOC_ARENA_MAX": "2", **dict.fromkeys(_THREADS, str(task.threads))}
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(watched)]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, **settings},
                pass_fds=(theirs.fileno(), watched),
                process_group=0,  # what the terminal sends to the command is not meant for its hosts
            )
        finally:
            theirs.close()
            os.close(watched)
        self._loaded = False
        self._words = b""
        self._listener = threading.Thread(target=self._listen, daemon=True, name="host-stderr")
        self._listener.start()
        with contextlib.suppress(OSError):  # a host that is gone already is told of when its answer is waited for
            self._channel.send(replace(task, todo=()))

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def make(self, todo: Todo, task: Task) -> Made:
        """Have a clip's streams made.

        Args:
            todo: The clip and its streams.
            task: The task that it belongs to.

        Raises:
            HostLost: The host died, or was stopped as the clip took longer than the task's `clip_timeout`.
            MseError: The models cannot be loaded, or the machine is at fault: its disk is full, say.
        """
        self._load()
        self._words = b""
        step: Step | None = None
        try:
            self._channel.send((replace(task, todo=()), todo))
            end = time.monotonic() + task.clip_timeout
            while True:
                if not self._channel.poll(max(0.0, end - time.monotonic())):
                    self.stop()
                    raise HostLost(step or Step("find"), f"after {task.clip_timeout:g} s", hung=True)
                message: Any = self._channel.recv()
                if isinstance(message, str):
                    raise MseError(message)
                if not isinstance(message, Step):
                    return message
                step = message
        except (OSError, EOFError) as error:
            raise HostLost(step, self._end()) from error

    def _load(self) -> None:
        """Wait until the models are loaded."""
        if self._loaded:
            return
        try:
            if not self._channel.poll(_LOAD_SECONDS):
                self.stop()
                raise MseError(f"The models were not loaded within {_LOAD_SECONDS / 60:g} minutes.")
            problem = self._channel.recv()
        except (OSError, EOFError) as error:
            raise MseError(f"The process that loads the models {self._end()}") from error
        if problem:
            self.stop()
            raise MseError(problem)
        self._loaded = True

    def stop(self, patience: float = 0.0) -> None:
        """End the process.

        Args:
            patience: Seconds to wait for it to leave by itself, as it does when it has nothing to do.
        """
        if self._lifeline < 0:
            return
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        self._process.wait()
        os.close(self._lifeline)
        self._lifeline = -1
        self._listener.join(1.0)

    def _end(self) -> str:
        """Collect a process that has died; returns how, as the end of a sentence."""
        try:
            self._process.wait(10.0)  # its socket is closed, so that it is about to end
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        self._listener.join(1.0)
        self.stop()
        return how_it_ended(code, self._words.decode("utf-8", "replace"))

    def _listen(self) -> None:
        """Keep the end of what the process says: decoders may say megabytes of one broken file."""
        stream = self._process.stderr
        if stream is None:
            return
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                self._words = (self._words + chunk)[-_LAST_WORDS:]


def how_it_ended(code: int, words: str) -> str:
    """The end of a sentence on a process that died.

    Args:
        code: Its exit code; negative for a signal.
        words: The end of what it said on its standard error.

    Examples:
        >>> how_it_ended(-11, "[h264 @ 0x5581] no frame!")
        'was ended by SIGSEGV. It said last: [h264] no frame!'
        >>> how_it_ended(3, "")
        'ended with exit code 3.'
    """
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        told = f"was ended by {name}."
        if name == "SIGKILL":
            told += " The system does so where memory is short; fewer --workers leave more for each."
    else:
        told = f"ended with exit code {code}."
    lines = [line for line in re.sub(r" @ 0x[0-9a-f]+", "", words).splitlines() if line.strip()]
    return f"{told} It said last: {lines[-1].strip()[-300:]}" if lines else told
