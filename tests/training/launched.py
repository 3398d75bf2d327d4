"""What the tests start under torchrun, as `-m tests.training.launched WHAT …`; each process runs all of it."""

import json
import os
import sys
from pathlib import Path

from mse_pipeline import backbones, cli, store
from mse_pipeline.errors import MseError
from mse_pipeline.training import step
from mse_pipeline.training.checkpoint import TrainingCheckpoint
from mse_pipeline.training.job import prepare
from mse_pipeline.training.processes import join
from mse_pipeline.training.run import train
from mse_pipeline.training.step import TrainingOptions
from mse_pipeline.training.streams import choose_streams
from tests.training.test_training_run import SETTINGS, WORDING


def together(cache, runs, plan, *arguments):
    """Train as each entry of the plan says: name of its runs, backbone, changed settings, options, environment.

    Then do `mse ARGUMENTS`.
    """
    dataset = store.open(Path(cache))["made"]
    for entry in json.loads(plan):
        os.environ |= entry.get("environment", {})
        join("cpu")
        settings = SETTINGS.model_copy(update=entry.get("settings", {}))
        backbone = backbones.load(entry.get("backbone", "tiny"))
        job = prepare(dataset, backbone, settings, choose_streams(dataset, asked={}), WORDING)
        for _ in range(2):  # what is done is not done again, in no process
            train(job, Path(runs) / entry["name"], [1], options=TrainingOptions(**entry.get("options", {})))
        kinds = {type(one).__name__ for one in backbone.model.model.layers[0].parameters()}
        if os.environ["RANK"] == "0":
            (Path(runs) / entry["name"] / "weights.json").write_text(json.dumps(sorted(kinds)))
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    sys.argv = ["mse", *arguments]
    cli.main()


def failing(rank, passes, *arguments):
    """`mse ARGUMENTS`, in which one process fails before so many forward passes; every step is saved."""
    loss, done = step.answer_loss, 0

    def counted(*given):
        nonlocal done
        if os.environ["RANK"] == rank and done == int(passes):
            raise MseError(f"Process {rank} has seen enough.")
        done += 1
        return loss(*given)

    step.answer_loss, TrainingCheckpoint.save_if_due = counted, TrainingCheckpoint.save
    sys.argv = ["mse", *arguments]
    cli.main()


if __name__ == "__main__":
    {"together": together, "failing": failing}[sys.argv[1]](*sys.argv[2:])
