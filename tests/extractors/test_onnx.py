"""Networks exported to ONNX: the same values as torch's, exported once, and again where the file was damaged."""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from mse_pipeline.extractors.visual import networks, onnx
from mse_pipeline.extractors.visual.networks import SIDES, OnnxNetworks, TorchNetworks, load_networks
from mse_pipeline.extractors.visual.onnx import Export, Session, contents

MADE: list[str] = []
# A thread that is bound while a network runs may be free again behind it, so that another one looks all the time.
PROCESSORS = """
import os, threading
from contextlib import suppress
import numpy as np
from mse_pipeline.extractors.visual.networks import load_networks
networks, seen, done = load_networks("cpu"), set(), threading.Event()
before = frozenset(os.sched_getaffinity(0))
def look():
    while not done.is_set():
        for task in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                seen.add(frozenset(os.sched_getaffinity(int(task))))
watcher = threading.Thread(target=look)
watcher.start()
for _ in range(20):
    networks.run("pnet", np.zeros((4, 145, 145, 3), np.uint8))
done.set()
watcher.join()
assert seen == {before}, (before, seen)
"""


def small(name: str) -> tuple[torch.nn.Module, int]:
    MADE.append(name)
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 2, 3), 8


def export(name: str = "small", weights: str = "a" * 40) -> Export:
    return Export(name, weights, functools.partial(small, name), ("maps",), any_size=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models' folder."""
    monkeypatch.setenv("MSE_MODELS", str(tmp_path / "models"))
    MADE.clear()
    return tmp_path / "models" / "onnx"


def pictures(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(params=["openvino", "onnxruntime"])
def mtcnn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OnnxNetworks:
    """MTCNN's networks in each of the libraries that may run them."""
    if request.param == "onnxruntime":
        monkeypatch.setattr(onnx, "openvino_alone", lambda: None)
    else:
        pytest.importorskip(request.param, reason="openvino is not installed")
    return OnnxNetworks()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pnet", (1, 12, 12)),
        ("pnet", (5, 43, 61)),
        ("rnet", (1, 24, 24)),
        ("rnet", (70, 24, 24)),
        ("onet", (1, 48, 48)),
        ("onet", (9, 48, 48)),
    ],
)
def test_mtcnn_gives_the_values_of_torch(mtcnn: OnnxNetworks, name: str, shape: tuple[int, int, int]) -> None:
    seen = pictures(*shape)
    mine, theirs = mtcnn.run(name, seen), TorchNetworks("cpu").run(name, seen)
    assert len(mine) == len(theirs) == len(networks.OUTPUTS[name])
    for one, other in zip(mine, theirs, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5)
    if name == "onet":
        mine, theirs = mtcnn.activations(seen), TorchNetworks("cpu").activations(seen)
        assert mine.shape == (len(seen), 256)
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_threads_share_a_session_and_keep_what_it_gave() -> None:
    (content,) = contents([one for one in networks.exports() if one.name == "rnet"])
    session = Session(content, networks.OUTPUTS["rnet"])
    seen = [pictures(2 + k, 24, 24) for k in range(8)]
    alone = [session(one) for one in seen]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(session, seen * 8))
    for mine, wanted in zip(together, alone * 8, strict=True):
        for one, other in zip(mine, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("sizes", "values", "times"), [(3, 1 << 25, 3), (64, 12_000, 3), (64, 0, 7)])
def test_pictures_of_many_sizes_leave_no_more_behind_than_some(
    sizes: int, values: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    (content,) = contents([one for one in networks.exports() if one.name == "pnet"])
    seen = [pictures(1 + k % 3, 20 + k, 30) for k in range(7)]
    wanted = [Session(content, networks.OUTPUTS["pnet"])(one) for one in seen]
    compiled: list[int] = []
    compile_model = onnx.openvino_alone().Core.compile_model
    monkeypatch.setattr(onnx, "_SIZES", sizes)
    monkeypatch.setattr(onnx, "_VALUES", values)
    monkeypatch.setattr(
        onnx.openvino_alone().Core, "compile_model", lambda *given: compiled.append(1) or compile_model(*given)
    )
    session = Session(content, networks.OUTPUTS["pnet"], any_size=True)
    for mine, other in zip([session(one) for one in seen], wanted, strict=True):
        for one, known in zip(mine, other, strict=True):
            np.testing.assert_array_equal(one, known)
    assert len(compiled) == times


@pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) < 2,
    reason="needs Linux, which tells a thread's processors, and two",
)
def test_a_session_may_run_on_every_processor_so_that_workers_do_not_share_the_first() -> None:
    subprocess.run([sys.executable, "-c", PROCESSORS], check=True, timeout=120)


def test_without_openvino_bfloat16_is_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    (content,) = contents([one for one in networks.exports() if one.name == "rnet"])
    monkeypatch.setattr(onnx, "openvino_alone", lambda: None)
    assert Session(content, networks.OUTPUTS["rnet"], "bfloat16").precision == "float32"


def test_the_networks_are_those_of_facenet_pytorch() -> None:
    import facenet_pytorch
    from facenet_pytorch.models import mtcnn

    for name, theirs in zip(SIDES, (mtcnn.PNet(), mtcnn.RNet(), mtcnn.ONet()), strict=True):
        seen = pictures(2, SIDES[name], SIDES[name])
        with torch.inference_mode():
            wanted = theirs.eval()((torch.from_numpy(seen).permute(0, 3, 1, 2).float() - 127.5) / 128)
        for mine, other in zip(load_networks("cpu").run(name, seen), wanted, strict=True):
            np.testing.assert_allclose(mine, other.numpy(), atol=1e-5)
    ours, other = networks.inception_resnet_class()().state_dict(), facenet_pytorch.InceptionResnetV1().state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in other.items()}


def test_a_network_is_exported_once_and_standardises_its_pictures(folder: Path) -> None:
    (content,) = contents([export()])
    assert contents([export()]) == [content]
    assert MADE == ["small"]
    assert export().is_here
    seen = pictures(2, 9, 11)
    (maps,) = Session(content, ("maps",))(seen)
    with torch.inference_mode():
        wanted = small("other")[0]((torch.from_numpy(seen).permute(0, 3, 1, 2).float() - 127.5) / 128)
    np.testing.assert_allclose(maps, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("other", [export("other"), export(weights="b" * 40)], ids=["network", "weights"])
def test_another_network_or_other_weights_are_another_file(folder: Path, other: Export) -> None:
    contents([export()])
    assert not other.is_here
    contents([other])
    assert len(list(folder.glob("*.onnx"))) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "page"])
def test_a_damaged_file_is_made_anew(folder: Path, damage: str) -> None:
    (content,) = contents([export()])
    (path,) = folder.glob("*.onnx")
    flipped = bytes([content[0] ^ 1]) + content[1:]
    path.write_bytes({"flip": flipped, "cut": content[:-9], "empty": b"", "page": b"<html>"}[damage])
    assert contents([export()]) == [content]
    assert path.read_bytes() == content
    assert MADE == ["small", "small"]


def test_a_damaged_file_that_nobody_may_delete_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (content,) = contents([export()])
    (path,) = folder.glob("*.onnx")
    path.write_bytes(content[:-9])

    def refuse(*given: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("unlink", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    assert contents([export()]) == [content]
    assert MADE == ["small", "small"]


def test_of_those_who_want_it_at_once_one_exports(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(contents, [[export()]] * 4))
    assert len({content for (content,) in found}) == 1
    assert MADE == ["small"]
    assert [path.suffix for path in sorted(folder.iterdir())] == [".onnx", ".lock"]


def test_where_nothing_can_be_kept_it_is_used_all_the_same(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.parent.write_text("a file where the folder of models would be")
    (content,) = contents([export()])
    Session(content, ("maps",))(pictures(1, 8, 8))
    assert not export().is_here
    assert MADE == ["small"]
    assert "The network small is exported anew in each process" in caplog.text


@pytest.mark.slow
def test_the_export_leaves_no_torch_in_the_process_that_asked_for_it(tmp_path: Path) -> None:
    program = (
        "import sys; from mse_pipeline.extractors.visual.networks import load_networks; load_networks('cpu')\n"
        "print('torch' in sys.modules)"
    )
    settings = {**os.environ, "MSE_MODELS": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=settings)
    assert out.stdout.strip() == "False"
    assert len(list((tmp_path / "onnx").glob("*.onnx"))) == 3


def test_openvino_is_imported_without_what_sends_messages() -> None:
    if "openvino-telemetry" not in {found.name for found in importlib.metadata.distributions()}:
        pytest.skip("openvino-telemetry is not installed")
    code = (
        "import socket, sys\n"
        "def refuse(*given): raise AssertionError('the network is asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from mse_pipeline.extractors.visual.onnx import openvino_alone\n"
        "assert openvino_alone().Core().available_devices\n"
        "unwanted = ('openvino_telemetry', 'openvino.tools.ovc', 'absl')\n"
        "assert not [name for name in sys.modules if name.startswith(unwanted)]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
