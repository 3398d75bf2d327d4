"""Commit: what a worker made of some clips enters the cache as one, or not at all.

Shards are written first; then, under the dataset's lock and only if the writer's run still holds, they get their names
and one journal file makes them count. A run that was killed may leave a worker that still writes: its commits are
refused once the next run has begun. Object storage has no lock and no renaming: shards are put there under their names,
and a clip that two runs commit is there twice, of which the last holds.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mse_pipeline.os_errors import writing
from mse_pipeline.places import is_local
from mse_pipeline.store.atomic import flush, write_aside_name
from mse_pipeline.store.candidates import pick
from mse_pipeline.store.checksum import of_features
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row
from mse_pipeline.store.parquet import write_shard
from mse_pipeline.store.runs import begin_run, commit_lock, is_current, run_lock
from mse_pipeline.store.storage import remove, upload

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset

__all__ = ["Commit", "Shard", "begin_run", "commit_lock", "run_lock"]

Shard = list[tuple[str, str, Features]]
"""Clip id, key and features of each."""


class Commit:
    """Rows and features that are to enter the cache together.

    Args:
        dataset: Where to.
        run: Name of the run; `begin_run` gave it, or any name outside of a run.
        guarded: Refuse to write when another run has begun since.
    """

    def __init__(self, dataset: Dataset, run: str, *, guarded: bool = False) -> None:
        self.dataset = dataset
        self._shard = f"shard-{run}-{secrets.token_hex(8)}.parquet"
        self._run = run
        self._guarded = guarded
        self._rows: list[Row] = []
        self._features: dict[tuple[str, str], Shard] = defaultdict(list)

    def add(self, row: Row, features: Features | None = None) -> None:
        """Add one clip's row in one stream; a row that is done comes with its features, or names their shard."""
        if features is not None:
            shown = pick(features)
            row = Row(
                **{
                    **row.__dict__,
                    "shard": self._shard,
                    "rows": len(shown),
                    "valid": int(shown.valid.sum()),
                    "checksum": of_features(features),
                }
            )
            self._features[row.stream, row.version].append((row.clip, row.key, features))
        self._rows.append(row)

    def write(self) -> bool:
        """Enter everything; returns False, with nothing written, if the run no longer holds."""
        if not self._rows:
            return not self._guarded or is_current(self.dataset.path, self._run)
        return self._write_local() if is_local(self.dataset.path) else self._write_remote()

    def _write_local(self) -> bool:
        written: list[tuple[Path, Path]] = []
        try:
            for final, stream, rows in self._shards():
                temporary = write_aside_name(final)
                written.append((temporary, final))
                with writing(final):
                    write_shard(temporary, stream, rows)
                    flush(temporary)
            with commit_lock(self.dataset.path):
                if self._guarded and not is_current(self.dataset.path, self._run):
                    return False
                for temporary, final in written:
                    os.replace(temporary, final)
                self._enter()
            return True
        finally:
            for temporary, _ in written:
                temporary.unlink(missing_ok=True)

    def _write_remote(self) -> bool:
        put: list[Path] = []
        with tempfile.TemporaryDirectory(prefix="mse-") as folder:
            for final, stream, rows in self._shards():
                made = Path(folder) / final.name
                with writing(made):
                    write_shard(made, stream, rows)
                put.append(final)
                upload(made, final)
        if self._guarded and not is_current(self.dataset.path, self._run):
            for final in put:
                remove(final)
            return False
        self._enter()
        return True

    def _enter(self) -> None:
        journal = self.dataset.journal
        journal.commit(journal.next_name(self._run), self._rows)

    def _shards(self) -> Iterator[tuple[Path, str, Shard]]:
        for (stream, version), rows in self._features.items():
            yield self.dataset.stream_folder(stream, version) / self._shard, stream, rows
