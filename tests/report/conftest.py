"""Run folders as training leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


class RunFolders:
    """Writes run folders below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name="a", *, seeds=(), **changes) -> Path:
        """A run folder; `seeds` are the test metrics of seeds 1, 2, …"""
        folder = self.root / name
        folder.mkdir(parents=True)
        stored = {
            "format": 1,
            "dataset": "meld",
            "metrics": "meld",
            "backbone": "tiny",
            "variant": "adapter",
            "streams": {"acoustic": "acoustic.egemaps", "visual": "visual.mtcnn"},
            "classes": ["neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"],
            "config": {},
            "config_digest": "0a1b2c3d",
            "trainable_parameters": 1312072,
            "created": "2025-02-03T04:05:06+00:00",
        }
        (folder / "run.json").write_text(json.dumps({**stored, **changes}))
        for seed, test in enumerate(seeds, start=1):
            self.seed(folder, seed, test)
        return folder

    def seed(self, folder: Path, seed: int, test: dict, **changes) -> Path:
        """A finished seed of a run."""
        place = folder / f"seed-{seed}"
        place.mkdir()
        stored = {
            "format": 1,
            "seed": seed,
            "status": "done",
            "best_epoch": 3,
            "epochs": 9,
            "valid": test,
            "test": test,
            "seconds": 12.5,
            "alarms": [],
        }
        (place / "result.json").write_text(json.dumps({**stored, **changes}))
        return place

    @staticmethod
    def predictions(place: Path, targets, predictions, split="test", *, clips=None, probabilities=None) -> None:
        """predictions.parquet of a seed; one more clip stands in the train split."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = {
            "clip": [*(clips or (f"{split}/{i}" for i in range(len(targets)))), "train/0"],
            "split": [split] * len(targets) + ["train"],
            "target": [*targets, targets[0]],
            "prediction": [*predictions, targets[0]],
            "probabilities": [*(probabilities or [[0.5, 0.5]] * len(targets)), [0.5, 0.5]],
        }
        pq.write_table(pa.table(rows), place / "predictions.parquet")

    @staticmethod
    def epochs(place: Path, losses, scores) -> None:
        """metrics.jsonl and environment.json of a seed; the last line is cut, as a kill leaves it."""
        lines = [json.dumps({"epoch": n, "loss": loss, "valid": scores[n - 1]}) for n, loss in enumerate(losses, 1)]
        (place / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 99, "lo']))
        (place / "environment.json").write_text(
            json.dumps({"python": "3.11", "packages": {"torch": "2.6", "h5py": None}})
        )


@pytest.fixture
def folders(tmp_path) -> RunFolders:
    return RunFolders(tmp_path / "runs")
