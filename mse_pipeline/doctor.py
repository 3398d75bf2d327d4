"""Doctor: what of this machine keeps features from being made or adapters from being trained, and how to mend it.

Nothing is changed: the one file that is written, to see whether the cache's folder can hold any, is removed again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mse_pipeline.errors import MseError, explain, failed_import
from mse_pipeline.places import is_local
from mse_pipeline.posix import cores

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "mse-pipeline"
LIBRARIES: tuple[str, ...] = (
    *("numpy", "pyarrow", "h5py", "torch", "torchvision", "transformers", "facenet_pytorch"),
    *("librosa", "opensmile", "cv2", "av", "onnxruntime", "openvino"),
)
"""What mse stands on that may be installed and yet not work: compiled code, and what was built for another library.

What others stand on comes first.
"""
_ONE_OF = frozenset({"onnxruntime", "openvino"})
"""One is enough to run exported networks; openvino is not made for all processors."""
_DEFAULT = ("acoustic.egemaps", "visual.mtcnn")
_GRID = 0.1
_LEAST_FREE = 1 << 30
_PATIENCE = 120.0  # seconds for all imports; some minutes on a network drive would be a finding of its own
_LATE = f"it was not imported within {_PATIENCE:.0f} s"
_REACH = 4.0
_ELSEWHERE = "--cache DIR, or export MSE_CACHE=DIR   (a folder of yours, on a disk with room)"
_SURVEY = """
import importlib, json, sys
sys.modules["openvino.tools.ovc"] = None  # which sends a message at each import of openvino
def tell(**found):
    print(json.dumps(found), flush=True)
for name in sys.argv[1:]:
    tell(begins=name)
    try:
        module = importlib.import_module(name)
        if name == "torchvision":
            import torch
            module.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        if name == "openvino":
            module.Core().get_property("CPU", "FULL_DEVICE_NAME")
    except BaseException as error:
        tell(name=name, error=f"{type(error).__name__}: {error}")
        continue
    tell(name=name, error="")
    if name == "torch":
        gpus = [module.cuda.get_device_name(place) for place in range(module.cuda.device_count())]
        tell(built_for=module.version.cuda or module.version.hip or "", gpus=gpus,
             mps=module.backends.mps.is_available())
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What it is about, as ``torchvision`` or ``disk``.
        state: ``ok``; ``note``, something that some work needs and is not there; ``problem``, something that fails.
        found: What was seen, as a phrase.
        mend: What to type or do about it; empty where there is nothing to do.
    """

    subject: str
    state: Literal["ok", "note", "problem"]
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """Its members, as JSON values."""
        return asdict(self)


def examine(cache: str | os.PathLike[str] | None) -> Iterator[Finding]:
    """Look at the installation, the machine, the models and a cache; each finding as soon as it is there.

    Args:
        cache: Where features would go, as `mse_pipeline.store.open` takes it.
    """
    yield Finding("Python", "ok", f"{platform.python_version()}, {platform.system()} on {platform.machine()}")
    yield from unfit_versions()
    yield from _libraries()
    yield _memory()
    for subject, look in (("cache", lambda: _cache(cache)), ("hub", _hub), ("extractors", _extractors)):
        try:
            yield from look()
        except Exception as error:
            failed = failed_import(error)
            if failed is None:
                raise
            yield Finding(subject, "note", f"not looked at, as {failed[0]} cannot be imported")


def unfit_versions(package: str = PACKAGE) -> Iterator[Finding]:
    """Packages that are installed in a version that another one does not work with, or not installed at all.

    Args:
        package: Whose requirements are followed, with those of what it requires.

    Examples:
        >>> [finding.state for finding in unfit_versions()]
        ['ok']
    """
    seen, unfit = {package}, []
    for name, needed in _required(package):
        seen.add(needed.name)
        version = _version(needed.name)
        if version is None or not needed.specifier.contains(version, prereleases=True):
            unfit.append((name, needed.name, str(needed.specifier), version))
    for name, other, range_, version in unfit:
        there = "it is not installed" if version is None else f"{version} is installed"
        yield Finding(other, "problem", f"{name} needs {other}{range_}, and {there}", _install(f"{other}{range_}"))
    if not unfit:
        yield Finding("versions", "ok", f"all {len(seen)} packages fit together")


def _required(package: str) -> Iterator[tuple[str, Requirement]]:
    """What a package requires, and what that requires, each with the name of the package that requires it."""
    from packaging.requirements import Requirement

    seen: set[str] = set()
    waiting = [package]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for needed in map(Requirement, _requires(name)):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                yield name, needed
                waiting.append(needed.name)


def _requires(name: str) -> Sequence[str]:
    try:
        return metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return ()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _install(*requirements: str, again: bool = False) -> str:
    """A command for a shell; requirements hold characters that it would take for its own."""
    options = " --force-reinstall --no-deps" if again else ""
    return f"{shlex.quote(sys.executable)} -m pip install{options} {shlex.join(requirements)}"


def _libraries() -> Iterator[Finding]:
    """Each library, imported in a process that may crash; and what torch says of the devices."""
    waiting = [name for name in LIBRARIES if name not in _ONE_OF or importlib.util.find_spec(name)]
    torch: dict[str, Any] = {}
    fit: list[str] = []
    failed: dict[str, str] = {}

    def unfit(name: str, error: str) -> Finding:
        needs = {needed.name for _, needed in _required(_DISTRIBUTION.get(name, name))}
        known = (other for other, why in failed.items() if _DISTRIBUTION.get(other, other) in needs or why == error)
        first = next(known, None)
        failed[name] = error
        return _unfit(name, error) if first is None else _unfit_by(name, first)

    while waiting:
        told, ending = _survey(waiting)
        for found in told:
            if "built_for" in found:
                torch = found
            elif found.get("error") == "":
                fit.append(found["name"])
            elif "error" in found:
                yield unfit(found["name"], found["error"])
        begun = [found["begins"] for found in told if "begins" in found]
        ended = {found["name"] for found in told if "name" in found}
        crashed = [name for name in begun if name not in ended]
        if crashed and ending == _LATE:
            yield Finding(crashed[-1], "note", f"{ending}: a slow disk, or a machine with much else to do")
        elif crashed:
            yield unfit(crashed[-1], f"the process that imports {crashed[-1]} ended with {ending}")
        elif not begun:
            yield Finding("Python", "problem", f"no process can be started: {ending}")
            break
        waiting = waiting[waiting.index(begun[-1]) + 1 :] if begun else []
    if fit:
        yield Finding("libraries", "ok", ", ".join(f"{name} {_version(_DISTRIBUTION.get(name, name))}" for name in fit))
    if torch:
        yield _device(torch)


_DISTRIBUTION = {"cv2": "opencv-python-headless", "facenet_pytorch": "facenet-pytorch"}


def _survey(names: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """What a process tells of the libraries that it imports in turn, and how it ended."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(  # noqa: S603 - this Python, on a text of ours
            [sys.executable, "-c", _SURVEY, *names],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=quiet,
            check=False,
        )
        text, ending = done.stdout, f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        text, ending = _decoded(late.stdout), _LATE
    except OSError as error:
        return [], explain(error)
    told = []
    for line in text.splitlines():
        with suppress(json.JSONDecodeError):
            found = json.loads(line)
            told += [found] if isinstance(found, dict) else []
    return told, ending


def _decoded(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _unfit(name: str, error: str) -> Finding:
    error = " ".join(error.split())[:300]
    if name == "torchvision" and ("operator torchvision::" in error or "undefined symbol" in error):
        built = f"torch {_version('torch')}, torchvision {_built()}"
        return Finding(name, "problem", f"it is built for another torch ({built}): {error}", _one_pair())
    distribution = _DISTRIBUTION.get(name, name)
    version = _base(_version(distribution))
    if version is None:
        return Finding(name, "problem", f"it is not installed ({error})", _install(distribution))
    return Finding(name, "problem", error, _install(f"{distribution}=={version}", again=True))


def _unfit_by(name: str, other: str) -> Finding:
    """A library that fails because another does, which has been told with its mend."""
    return Finding(name, "problem", f"it needs {other}, which cannot be imported: mend that first")


def _built() -> str | None:
    """The version of torchvision with what it was built for: its file tells that, the name of PyPI's wheel does not."""
    with suppress(metadata.PackageNotFoundError, OSError, StopIteration):
        files = metadata.distribution("torchvision").files or ()
        text = next(file for file in files if file.name == "version.py").read_text(encoding="utf-8")
        told = re.search(r"""__version__ = ["']([^"']+)["']""", text)
        return told[1] if told else _version("torchvision")
    return _version("torchvision")


def _one_pair() -> str:
    """A command that installs torch and torchvision of one build: both from PyPI, where they fit together.

    ``===`` takes the version of that name alone; ``==2.9.0`` would take a 2.9.0+cpu that pip finds on a disk or holds
    for satisfied.
    """
    from packaging.requirements import Requirement

    version = _base(_version("torch"))
    needs = [Requirement(text) for text in _requires("torchvision")]
    asked = next((str(one.specifier) for one in needs if one.name == "torch"), "")
    if version is not None and Requirement(f"torch{asked}").specifier.contains(version, prereleases=True):
        asked = f"==={version}"
    elif asked.count("==") == 1 and "," not in asked:
        asked = asked.replace("==", "===")
    return _install(f"torch{asked}", f"torchvision==={_base(_version('torchvision'))}")


def _base(version: str | None) -> str | None:
    """A version without what it was built for, as 2.9.0 of 2.9.0+cpu."""
    return None if version is None else version.partition("+")[0]


def _device(torch: dict[str, Any]) -> Finding:
    if torch["gpus"]:
        return Finding("device", "ok", f"{', '.join(torch['gpus'])}: --device cuda")
    if torch["mps"]:
        return Finding("device", "ok", "Apple's GPU: --device mps")
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        built = f"for CUDA {torch['built_for']}" if torch["built_for"] else "without CUDA"
        found = f"an NVIDIA driver is here, but torch {_version('torch')}, built {built}, finds no GPU"
        return Finding("device", "problem", found, "nvidia-smi   (does it list the GPU, and is its CUDA as new?)")
    return Finding("device", "note", "no GPU: backbones of some 100 M parameters are trained here, not of 7 B")


def _memory() -> Finding:
    import psutil

    whole, free = (size / 1e9 for size in (psutil.virtual_memory().total, psutil.virtual_memory().available))
    return Finding("memory", "ok", f"{free:.1f} of {whole:.1f} GB free, {cores()} cores")


def _cache(where: str | os.PathLike[str] | None) -> Iterator[Finding]:
    """Whether features can be written, for how much media there is room, and which datasets there are."""
    from mse_pipeline.store.cache import open_cache

    try:
        cache = open_cache(where)
    except MseError as error:
        yield Finding("cache", "problem", str(error))  # which says what mends it
        return
    if is_local(cache.path):
        yield from _disk(Path(cache.path))
    try:
        held = {name: len(cache[name].clips) for name in cache}
    except (MseError, OSError) as error:
        message = explain(error) if isinstance(error, OSError) else str(error)
        yield Finding("datasets", "problem", message, f"mse cache verify --cache {cache.path}")
        return
    told = ", ".join(f"{name} ({clips:,} clips)" for name, clips in held.items())
    if held:
        yield Finding("datasets", "ok", f"in {cache.path}: {told}")
    else:
        yield Finding("datasets", "note", f"none in {cache.path} yet", "mse demo   (or mse extract NAME --root DIR)")


def _disk(folder: Path) -> Iterator[Finding]:
    # A link that leads nowhere counts as there: features would go through it.
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"mse")
            file.flush()
    except OSError as error:
        error.filename = str(there)
        yield Finding("cache", "problem", explain(error), _ELSEWHERE)
        return
    free, an_hour = shutil.disk_usage(there).free, bytes_an_hour()
    room = f"{free / 1e9:,.1f} GB free at {there}, for about {free / an_hour:,.0f} hours of media"
    told = f"{room} ({' and '.join(_DEFAULT)}: {an_hour / 1e6:.0f} MB an hour)"
    if free < _LEAST_FREE:
        yield Finding("disk", "problem", told, _ELSEWHERE)
    else:
        yield Finding("disk", "ok", told)


def bytes_an_hour(streams: Sequence[str] = _DEFAULT) -> float:
    """What the features of an hour of media take: shards on the extractors' clocks, and packs on a grid of 0.1 s.

    Values that are hardly compressible; notes and tables come to little.

    Args:
        streams: Extractors with fixed clocks and dimensions.

    Examples:
        >>> round(bytes_an_hour(["acoustic.egemaps"]) / 1e6)  # 25 values, 100 and 10 times a second
        40
    """
    from mse_pipeline.extractors.describe import step_of
    from mse_pipeline.extractors.registry import available

    entries = available()
    dims = {name: entries[name].dim or 0 for name in streams}
    rows = sum(size / (step_of(name) or _GRID) for name, size in dims.items())
    return 4 * 3600 * (rows + sum(dims.values()) / _GRID)


def _hub() -> Iterator[Finding]:
    """Whether models can be fetched."""
    from huggingface_hub import constants, get_session

    own = "Models in local folders work: --backbone DIR, model: DIR"
    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", "note", "switched off by HF_HUB_OFFLINE", own)
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_REACH)
    except Exception as error:  # of whatever library the hub's client stands on
        mend = f"{own}; a mirror: export HF_ENDPOINT=URL"
        yield Finding("hub", "note", f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})", mend)
    else:
        yield Finding("hub", "ok", f"{constants.ENDPOINT} can be reached")


def _extractors() -> Iterator[Finding]:
    """Which extractors can run, what the others lack, and which licences forbid some uses."""
    from mse_pipeline.extractors.registry import available

    entries = sorted(available().items())
    lacking = {name: reason for name, entry in entries if (reason := entry.missing())}
    ready = [name for name, _ in entries if name not in lacking]
    yield Finding("extractors", "ok", f"{len(ready)} of {len(entries)} are ready")
    for name, reason in lacking.items():
        absent, _, command = reason.partition(": ")
        yield Finding(name, "note", *((absent.lower(), command) if absent == "Not installed" else (reason, "")))
    bound = [f"{name} ({entry.licence})" for name, entry in entries if "research" in entry.licence]
    if bound:
        yield Finding("licences", "note", f"not for commercial use: {'; '.join(bound)}")
