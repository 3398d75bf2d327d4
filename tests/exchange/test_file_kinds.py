"""Files are named for what they are, whatever they are called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sys
import tarfile
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mse_pipeline.errors import MseError
from mse_pipeline.exchange.npy_file import read_npy
from mse_pipeline.exchange.restricted import PickleRefused, read_pickle
from mse_pipeline.file_kinds import kind_of, kind_of_bytes
from mse_pipeline.hdf5_guard import opened

VALUE = pickle.dumps({"a": np.arange(40.0)})
LINES = {"text": "a\nb\nc", "numbers": list(range(300))}


def made(write):
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def zipped(*names):
    def write(out):
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return made(write)


def tarred(out):
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("features.pkl")
        info.size = len(VALUE)
        archive.addfile(info, io.BytesIO(VALUE))


def hdf5(out):
    with h5py.File(out, "w") as file:
        file["a"] = np.ones(3)


def old_torch(out):
    torch.save({"a": torch.ones(3)}, out, _use_new_zipfile_serialization=False)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 13652131313\n"
KINDS = {
    "page": (
        b"<!DOCTYPE html><html><title>Virus scan warning</title></html>",
        "a web page (HTML)",
        "download it again",
    ),
    "page in lower case": (b"\n <html lang='zh'><body>", "a web page (HTML)", "login"),
    "page after a comment": (b"<!-- a --><HTML>", "a web page (HTML)", "login"),
    "error of a storage": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML page", "again"),
    "Git LFS": (POINTER, "a Git LFS pointer", "git lfs pull"),
    "git-annex": (b"/annex/objects/MD5E-s13--ab.pkl\n", "a git-annex pointer", "git annex get"),
    "DVC": (b"outs:\n- md5: ab\n  path: a.pkl\n", "a DVC pointer", "dvc pull"),
    "gzip": (gzip.compress(VALUE), "packed with gzip", "gunzip"),
    "bzip2": (bz2.compress(VALUE), "packed with bzip2", "bunzip2"),
    "xz": (lzma.compress(VALUE), "packed with xz", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), "packed with zstd", "unzstd"),
    "zip": (zipped("features.pkl"), "a zip archive", "Unpack it"),
    "zip without members": (zipped(), "a zip archive", "Unpack it"),
    "cut zip": (zipped("features.pkl")[:50], "a zip archive that is cut off", "Download it again"),
    "torch": (made(lambda out: torch.save({"a": torch.ones(3)}, out)), "a file of torch.save", "torch.load"),
    "old torch": (made(old_torch), "a file of torch.save", "torch.load"),
    "npz": (made(lambda out: np.savez(out, a=np.ones(3))), "an .npz archive of numpy", "np.load"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook", "CSV"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "a 7z archive", "7z x"),
    "rar": (b"Rar!\x1a\x07\x00" + bytes(20), "a RAR archive", "unrar"),
    "tar": (made(tarred), "a tar archive", "tar xf"),
    "hdf5": (made(hdf5), "an HDF5 file", "another format"),
    "npy": (made(lambda out: np.save(out, np.ones(3))), "an .npy file of numpy", "another format"),
    "parquet": (made(lambda out: pq.write_table(pa.table({"a": [1]}), out)), "a Parquet file", "another format"),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x01IM", "a MATLAB file", "loadmat"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "again"),
    "video": (b"\x00\x00\x00\x20ftypisom", "a media file", "features"),
    "zeros": (bytes(5000), "nothing but zero bytes", "again"),
    "json": (b'{"error": "quota exceeded"}', "text (JSON)", "editor"),
    "table": (b"video_id,clip_id,text\na,1,so\n", "text", "editor"),
    "message": (b"no such file on this server\n", "text", "editor"),
    "Chinese": ("登录后下载\n".encode("gb18030"), "text", "editor"),
    "UTF-16": ("error".encode("utf-16"), "text", "editor"),
    "empty": (b"", "empty: it has no bytes", "again"),
}
NO_HDF5, NO_NPY = ([kind for kind in KINDS if kind != name] for name in ("hdf5", "npy"))


@pytest.mark.parametrize(("data", "name", "mend"), KINDS.values(), ids=KINDS)
def test_a_kind_is_named_with_its_mend(tmp_path, data, name, mend):
    path = tmp_path / "features.pkl"
    path.write_bytes(data)
    kind = kind_of(path)
    assert kind.name.startswith(name)
    assert mend in str(kind)


@pytest.mark.parametrize("data", [b"\x00\x01\x02\x03binary", b"\xfe\xed\x00\x00"])
def test_what_nobody_knows_is_none(data):
    assert kind_of_bytes(data) is None


@pytest.mark.parametrize("word", [b"PAR1_a 1 0.5 0.2 so\n", b"BZh 1 0.5 0.2 so\n", b"RIFF 1 0 1 so\n"])
def test_a_text_may_begin_like_another_format(word):
    assert kind_of_bytes(word).text


def test_a_file_that_cannot_be_opened_is_of_no_kind(tmp_path):
    assert kind_of(tmp_path / "nowhere") is None
    assert kind_of(tmp_path) is None


# Pickles may be text, and read as steps some words are: what such a file is stands after what is wrong with it.
@pytest.mark.parametrize(("data", "name", "mend"), KINDS.values(), ids=KINDS)
def test_what_is_no_pickle_is_named_for_what_it_is(tmp_path, data, name, mend):
    path = tmp_path / "features.pkl"
    path.write_bytes(data)
    with pytest.raises(PickleRefused) as refused:
        read_pickle(path)
    assert f"{name}" in str(refused.value)
    assert mend in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(("data", "name", "mend"), [KINDS[kind] for kind in NO_HDF5], ids=NO_HDF5)
def test_what_is_no_hdf5_is_named_for_what_it_is(tmp_path, data, name, mend):
    path = tmp_path / "words.csd"
    path.write_bytes(data)
    with pytest.raises(MseError, match=r"words\.csd cannot be read as HDF5") as refused, opened(path):
        pass
    assert name in str(refused.value)
    assert mend in str(refused.value)


@pytest.mark.parametrize(("data", "name", "mend"), [KINDS[kind] for kind in NO_NPY], ids=NO_NPY)
def test_what_is_no_npy_is_named_for_what_it_is(tmp_path, data, name, mend):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(MseError, match=r"a\.npy cannot be read as \.npy") as refused:
        read_npy(path)
    assert name in str(refused.value)
    assert mend.rstrip(".") in str(refused.value)


@pytest.mark.parametrize("protocol", range(6))
def test_line_ends_of_windows_are_told(tmp_path, protocol):
    path = tmp_path / "features.pkl"
    path.write_bytes(pickle.dumps(LINES, protocol).replace(b"\n", b"\r\n"))
    with pytest.raises(PickleRefused, match=r"copy in text mode leaves them on Windows.*binary file"):
        read_pickle(path)


@pytest.mark.parametrize("end", [b"\r\r\n", b"\n"], ids=["doubled", "lost"])
def test_line_ends_of_windows_are_told_of_hdf5(tmp_path, end):
    path = tmp_path / "words.csd"
    path.write_bytes(made(hdf5).replace(b"\r\n", end))
    with pytest.raises(MseError, match="a copy in text mode has changed"), opened(path):
        pass


def test_a_pickle_that_is_cut_off_is_no_other_file(tmp_path):
    path = tmp_path / "features.pkl"
    path.write_bytes(VALUE[:-20])
    with pytest.raises(PickleRefused, match="is cut off"):
        read_pickle(path)


def test_naming_kinds_imports_nothing_heavy():
    assert "numpy" not in vars(sys.modules["mse_pipeline.file_kinds"])
