"""ONNX: networks of torch, exported once on a machine, so that who only runs them needs no torch.

The import of torch takes three seconds and 500 MB, more than all the rest of a host; OpenVINO and ONNX Runtime load in
a tenth of a second. Exports lie in the models' folder under the digest of their weights. A file's name ends in the
checksum of its content, so that one which was damaged is seen and made anew.
"""

from __future__ import annotations

import importlib
import logging
import math
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from isal.isal_zlib import crc32

from mse_pipeline.child_process import Child, ChildLost
from mse_pipeline.errors import MseError, explain
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.store.storage import aside

REVISION = 1
"""Raised whenever the same weights are exported to another file."""

_log = logging.getLogger(__name__)
_SECONDS = 600.0
_OPSET = 17


@dataclass(frozen=True)
class Export:
    """A network as an ONNX file.

    The network takes ``pictures``, (N, H, W, 3) uint8, and standardises them by itself.

    Attributes:
        name: The network's, as in ``pnet``.
        weights: Digest of its weights.
        make: Gives the torch module, which takes (N, 3, H, W) float32, and the side of the pictures that it takes; or,
            where there is no torch module, the file's content. It is pickled: a function of a module, or a partial of
            one.
        outputs: Names of its outputs.
        any_size: Whether it takes pictures of any height and width.
    """

    name: str
    weights: str
    make: Callable[[], tuple[Any, int] | bytes]
    outputs: tuple[str, ...]
    any_size: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it was exported on this machine; the file may be damaged."""
        return bool(self._files())

    @property
    def stem(self) -> str:
        """How the file's name begins."""
        return f"{self.name}-{self.weights[:32]}-{REVISION}"

    def _files(self) -> list[Path]:
        if not _folder().is_dir():
            return []
        return [path for path in sorted(_folder().glob(f"{self.stem}.*.onnx")) if _NAMED.search(path.name)]

    def kept(self) -> bytes | None:
        """The file's content; None where it is missing or damaged."""
        for path in self._files():
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if f".{crc32(content):08x}.onnx" == path.name[-len(".00000000.onnx") :]:
                return content
            with suppress(OSError):  # a folder that nobody may write to
                path.unlink(missing_ok=True)
        return None


_NAMED = re.compile(r"\.[0-9a-f]{8}\.onnx$")


def _folder() -> Path:
    return models_folder() / "onnx"


def contents(exports: Sequence[Export]) -> list[bytes]:
    """The contents of ONNX files. What is missing or damaged is exported, by one process of the machine at a time.

    Raises:
        MseError: A network cannot be made, as of weights that are not its own.
    """
    with _Exporter() as exporter:
        return [_content(export, exporter) for export in exports]


def _content(export: Export, exporter: _Exporter) -> bytes:
    from filelock import FileLock

    kept = export.kept()
    if kept is not None:
        return kept
    made = None
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        with FileLock(_folder() / f"{export.stem}.lock"):
            kept = export.kept()  # by another process meanwhile
            if kept is not None:
                return kept
            made = exporter(export)
            with aside(_folder() / f"{export.stem}.{crc32(made):08x}.onnx") as temporary:
                temporary.write_bytes(made)
    except OSError as error:  # a full disk, or a folder that nobody may write to: it is used, but not kept
        _log.warning("The network %s is exported anew in each process: %s", export.name, explain(error))
    return exporter(export) if made is None else made


class _Exporter:
    """Exports networks in a process of its own, whose end gives torch's memory back; here where torch is loaded."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_an_error: object) -> None:
        if self._child is not None:
            self._child.stop()

    def __call__(self, export: Export) -> bytes:
        if "torch" in sys.modules:
            return _export(export)
        self._child = self._child or Child(_begin)
        try:
            content: bytes = self._child.ask(export, _SECONDS)
        except ChildLost as lost:
            raise MseError(f"The network {export.name} could not be exported to ONNX: the process {lost.how}") from lost
        return content


def _begin() -> Callable[[Export, Callable[[Any], None]], bytes]:
    return lambda export, tell: _export(export)


def _export(export: Export) -> bytes:
    made = export.make()
    if isinstance(made, bytes):
        return made
    import torch

    module, side = made
    sizes = {0: "n", 1: "height", 2: "width"} if export.any_size else {0: "n"}
    with warnings.catch_warnings(), torch.inference_mode(), tempfile.TemporaryDirectory(prefix="mse-") as folder:
        # The exporter without torch.export needs no further package, and its graphs are what ONNX Runtime runs fastest.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _standardising(module.eval()),
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            Path(folder) / "network.onnx",
            dynamo=False,
            opset_version=_OPSET,
            input_names=["pictures"],
            output_names=list(export.outputs),
            dynamic_axes={"pictures": sizes, **{name: {0: "n"} for name in export.outputs}},
        )
        return (Path(folder) / "network.onnx").read_bytes()


def _standardising(module: Any) -> Any:
    """The network behind what it was trained with: (x - 127.5) / 128, channels first."""
    import torch

    class Standardising(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, pictures: Any) -> Any:
            return self.network((pictures.permute(0, 3, 1, 2).float() - 127.5) / 128.0)

    return Standardising()


class Session:
    """An exported network on one thread of the CPU: in OpenVINO, or in ONNX Runtime where that is not installed.

    OpenVINO runs MTCNN's networks in half the time, FaceNet in the same, and in bfloat16, which ONNX Runtime lacks, in
    half of it. In float32 the two agree to 1e-5. A session may be used by several threads.

    Args:
        content: The ONNX file's content.
        outputs: Names of its outputs.
        precision: What it is computed in, if OpenVINO is installed.
        any_size: Whether pictures of many sizes come.

    Attributes:
        precision: What it is computed in.
    """

    def __init__(
        self,
        content: bytes,
        outputs: tuple[str, ...],
        precision: Literal["bfloat16", "float32"] = "float32",
        *,
        any_size: bool = False,
    ) -> None:
        openvino = openvino_alone()
        self.precision: Literal["bfloat16", "float32"] = precision if openvino else "float32"
        self._outputs = outputs
        self._run = (
            _in_onnx_runtime(content)
            if openvino is None
            else in_openvino(openvino, content, self.precision, any_size=any_size)
        )

    def __call__(self, pictures: np.ndarray, *outputs: str) -> list[np.ndarray]:
        """Run it.

        Args:
            pictures: (N, H, W, 3) uint8, contiguous in memory, N above 0.
            outputs: Names of the outputs that are wanted; none for all of them.

        Returns:
            The outputs, float32.
        """
        return self._run(pictures, outputs or self._outputs)


def open_session(export: Export, precision: Literal["bfloat16", "float32"] = "float32") -> Session:
    """A network's session; the network is exported where that was not done yet.

    Args:
        export: The network.
        precision: As of `Session`.

    Raises:
        MseError: It cannot be made, as of weights that are not its own, or that cannot be downloaded.
    """
    (content,) = contents([export])
    return Session(content, export.outputs, precision, any_size=export.any_size)


_Run = Callable[[np.ndarray, Sequence[str]], list[np.ndarray]]

_SIZES, _VALUES = 64, 1 << 25
"""Sizes of batches that OpenVINO keeps code and buffers for, and the values in one batch of each: two bytes a value, a
third of a megabyte a size for P-Net and four for YuNet on frames of 16 : 9. It has no such bound."""


def in_openvino(openvino: Any, model: bytes | Path, precision: str = "float32", *, any_size: bool = False) -> _Run:
    """A network on one thread of the CPU.

    Args:
        openvino: What `openvino_alone` gives.
        model: An ONNX file's content, or the path of another file that OpenVINO reads.
        precision: What it is computed in.
        any_size: Whether inputs of many sizes come.

    Returns:
        A function of the network's input, and of the names of the outputs that are wanted; none for all of them.
    """
    settings = {
        # How many threads share a sum decides its last digits.
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # else the first core does the work of all processes
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
    }
    core = openvino.Core()

    def compiled(model: bytes | Path) -> Any:
        read = core.read_model(model, b"") if isinstance(model, bytes) else core.read_model(model)
        return core.compile_model(read, "CPU", settings).create_infer_request()

    network, kept = compiled(model), model if any_size else b""
    places = {name: k for k, output in enumerate(network.model_outputs) for name in output.names}
    sizes: set[tuple[int, ...]] = set()
    lock = threading.Lock()

    def run(pictures: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        nonlocal network
        with lock:  # the next call writes over what this one gives
            if kept and pictures.shape not in sizes:
                full = len(sizes) == _SIZES or sum(map(math.prod, (*sizes, pictures.shape))) > _VALUES
                if sizes and full:
                    network = compiled(kept)
                    sizes.clear()
                sizes.add(pictures.shape)
            made = network.infer(pictures, share_inputs=True, share_outputs=True).to_tuple()
            return [made[place].copy() for place in ([places[name] for name in outputs] or range(len(made)))]

    return run


def _in_onnx_runtime(content: bytes) -> _Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda pictures, outputs: list(session.run(list(outputs), {"pictures": pictures}))


def in_parts(pictures: np.ndarray, most: int) -> list[np.ndarray]:
    """Pictures in batches of nearly the same size: a small rest takes as long as a batch.

    Args:
        pictures: (N, H, W, 3), N above 0.
        most: Pictures in one batch. OpenVINO keeps memory for each size of a batch that it has seen.
    """
    size = math.ceil(len(pictures) / math.ceil(len(pictures) / most))
    return [np.ascontiguousarray(pictures[k : k + size]) for k in range(0, len(pictures), size)]


_UNWANTED = ("openvino.tools.ovc", "openvino_telemetry")


def openvino_alone() -> Any | None:
    """OpenVINO without its converter of models, which nothing here needs; None where it is not installed.

    The converter sends a message over the network at each import, and puts the handler of absl into logging, which
    closes a stream of errors that it once had. OpenVINO goes on where it cannot be imported.
    """
    blocked = [name for name in _UNWANTED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError:
        return None
    finally:
        for name in blocked:  # for a program of others that wants it
            sys.modules.pop(name, None)
