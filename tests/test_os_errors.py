"""What the operating system refuses is told with the path, the cause and the mend."""

import errno
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline.errors import MseError, explain, refuse_if_of_all_clips, writing
from mse_pipeline.store.checksum import DamagedError, damaged
from mse_pipeline.store.storage import aside


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.ENOTDIR, "a file lies where a folder should be"),
        (errno.EISDIR, "a folder lies where a file should be"),
        (errno.EMFILE, "open files"),
        (errno.ESTALE, "network drive"),
        (errno.EIO, "disk reports an error"),
        (errno.ENOMEM, "memory is used up"),
        (errno.EFBIG, "larger than is allowed"),
    ],
)
def test_each_cause_has_its_sentence(number, words):
    told = explain(OSError(number, os.strerror(number), "cache/meld"))
    assert told.startswith("cache/meld: ")
    assert words in told
    assert told.endswith(".")


def test_an_unknown_cause_is_told_in_the_systems_words():
    assert explain(OSError(errno.EDOM, "Numerical argument out of domain", "a.h5")) == (
        "a.h5: Numerical argument out of domain. Look at the path, its disk and its permissions."
    )


def full_text(path):
    with path.open("w") as file:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if file else None


def full_device(path):
    with open("/dev/full", "wb") as device:
        device.write(b"x")


def full_numpy(path):
    with open("/dev/full", "wb") as device:
        np.save(device, np.zeros(100_000))


def full_safetensors(path):
    from safetensors import SafetensorError

    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def full_arrow(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open("/dev/full", "wb") as device:  # given its name, Arrow would remove what it could not write
        pq.write_table(pa.table({"a": np.arange(1000)}), device)


def full_hdf5(path):
    raise OSError("Can't synchronously write data (file write failed: errno = 28, error message = 'No space left')")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device /dev/full of Linux")
@pytest.mark.parametrize("write", [full_text, full_device, full_numpy, full_safetensors, full_arrow, full_hdf5])
def test_a_full_disk_names_the_file_whoever_met_it(tmp_path, write):
    path = tmp_path / "folder" / "pack.h5"
    with pytest.raises(OSError, match="No space left") as caught, aside(path) as temporary:
        write(temporary)
    told = explain(caught.value)
    assert "the disk is full" in told
    assert "/dev/full" in told or str(path) in told
    assert list(path.parent.iterdir()) == []


def test_the_error_crosses_process_borders_whole(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, writing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert explain(pickle.loads(pickle.dumps(caught.value))) == explain(caught.value)


def test_errors_of_other_kinds_stay_as_they_are(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path / "a"):
        raise KeyError("x")
    with pytest.raises(io.UnsupportedOperation), writing(tmp_path / "a"):
        raise io.UnsupportedOperation("not writable")


@pytest.mark.parametrize(
    ("error", "machine"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError("[errno 24] Too many open files"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError("not JSON"), False),
        (OSError("Couldn't deserialize thrift"), False),
    ],
)
def test_a_file_that_the_machine_withholds_is_not_called_damaged(error, machine):
    told = damaged(Path("cache/a/clips.parquet"), "The clip table", error)
    assert isinstance(told, DamagedError) is not machine
    assert ("--repair" in str(told)) is not machine


@pytest.mark.parametrize(
    ("number", "ends"),
    [(errno.ENOSPC, True), (errno.EMFILE, True), (errno.ESTALE, True), (errno.EACCES, False), (errno.EIO, False)],
)
def test_only_what_the_next_clip_would_meet_too_ends_a_run(number, ends):
    error = OSError(number, os.strerror(number), "clip.mp4")
    if ends:
        with pytest.raises(MseError, match=r"clip\.mp4"):
            refuse_if_of_all_clips(error)
    else:
        refuse_if_of_all_clips(error)
