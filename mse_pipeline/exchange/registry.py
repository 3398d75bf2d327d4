"""The formats that come in and go out, each in its own module, which is imported when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.places import require_parent
from mse_pipeline.plugins import Kind

if TYPE_CHECKING:
    from mse_pipeline.exchange.base import Imported
    from mse_pipeline.store.dataset import Dataset

_OF_FILES = {".pkl", ".pickle", ".csd", ".npy", ".npz", ".h5", ".hdf5", ".csv", ".json", ".parquet", ".tar", ".zip"}
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Format:
    """One format of feature files.

    Attributes:
        summary: One line: what it is, and who writes it.
        reader: A function ``read(path: Path, **options) -> Imported``, whose options are keywords with defaults; of a
            format of this package its place, as in ``mmsa:read``. None: not read.
        writer: Likewise, a function ``write(dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None`` with
            stream names by modality. None: not written.
        extends: Whether it holds features for the clips of a dataset that is in the cache already: the reader is then
            called with that one as keyword ``dataset``.
        loses: What a dataset has and a file of this format does not; told after an export.
        suffix: Of the one file that is written, as in ``.pkl``; empty where a folder is; None where either may be.
    """

    summary: str
    reader: str | Callable[..., Imported] | None = None
    writer: str | Callable[..., None] | None = None
    extends: bool = False
    loses: str = ""
    suffix: str | None = None


FORMATS: dict[str, Format] = {
    "mmsa": Format(
        "MMSA pickle (MOSI, MOSEI, SIMS, SIMS-V2; aligned or not), also of MMSA-FET",
        "mmsa:read",
        "mmsa:write",
        loses="times and validity of rows, which values are defined (0 where not), token ids of BERT (text_bert)",
        suffix=".pkl",
    ),
    "mse-adapter": Format(
        "MSE-Adapter pickles of one split each (MELD, CHERMA, IEMOCAP)",
        "mse_adapter:read",
        "mse_adapter:write",
        suffix="",
        loses="ids, speakers, times and validity of rows, which values are defined (0 where not), clips without "
        "a label",
    ),
    "csd": Format(
        "Folder of .csd files with their label file (CMU-MultimodalSDK; MOSEI, MOSI)",
        "csd:read",
        "csd:write",
        suffix="",
        loses="which values are defined (0 where not)",
    ),
    "npy": Format(
        "Folders of .npy files, one a clip, with a label table (MERBench)",
        "npy_folder:read",
        "npy_folder:write",
        suffix="",
        loses="times and validity of rows, which values are defined (0 where not)",
    ),
    "hf": Format(
        "Folder of Parquet files with a card, as the Hugging Face hub holds datasets",
        writer="hugging_face:write",
        suffix="",
    ),
    "webdataset": Format("Tar files as WebDataset reads them", writer="webdataset:write", suffix=""),
}
"""The formats that most need. The rarer ones of this package are added as those of others are, by entry points."""


def _problem_of(found: Any) -> str:
    """What is wrong with what a package offers; empty where nothing is."""
    if not isinstance(found, Format):
        return "is no mse_pipeline.exchange.registry.Format"
    functions = [function for function in (found.reader, found.writer) if function is not None]
    return "" if functions and all(map(callable, functions)) else "has no function as reader, and none as writer"


KIND = Kind("mse_pipeline.formats", "format", _problem_of)
"""Other packages add a format by an entry point that is a `Format` with functions as reader and writer."""


def available() -> tuple[dict[str, Format], dict[str, str]]:
    """The formats by name, and by name why what a package offers is none.

    Examples:
        >>> {"mmsa", "openface"} <= set(available()[0])
        True
    """
    found = KIND.discover(FORMATS)
    formats, refused = dict(FORMATS), dict(found.refused)
    for name, plugin in found.plugins.items():
        try:
            formats[name] = KIND.load(plugin)
        except UsageError as error:
            refused[name] = str(error)
    return formats, refused


def find(name: str) -> Format:
    """A format by its name.

    Raises:
        UsageError: There is none of that name, or the package that brings it does not fit.

    Examples:
        >>> find("mmsa").extends
        False
    """
    form: Format | None = FORMATS.get(name) or KIND.find(name, FORMATS)
    if form is None:
        names = [*FORMATS, *KIND.discover(FORMATS).plugins]
        raise UsageError(f"There is no format {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}.")
    return form


def read(name: str, path: Path, options: Mapping[str, str] | None = None, dataset: Dataset | None = None) -> Imported:
    """Read a foreign file or folder.

    Args:
        name: Of the format.
        path: The file or folder.
        options: The reader's options as a command line gives them: texts, which become what the option's default is.
        dataset: The dataset that the file has features for, if the format extends one.

    Raises:
        UsageError: The format is unknown or not read, there is no such path, or an option does not fit.
        MseError: The file is damaged, hostile or of another format.
    """
    form = find(name)
    if form.reader is None:
        raise UsageError(f"{name} is written, not read.")
    if not path.exists():
        raise UsageError(f"{path} does not exist; give the file or folder that is to be imported.")
    if form.extends and dataset is None:
        raise UsageError(f"{name} files hold features alone: name a dataset of the cache that has the clips.")
    function = _function(form.reader)
    values: dict[str, Any] = _converted(name, function, options or {})
    if form.extends:
        values["dataset"] = dataset
    imported: Imported = function(path, **values)
    return imported


def write(name: str, dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None:
    """Write a dataset's clips and streams in a foreign format.

    Args:
        name: Of the format.
        dataset: What is written.
        path: The file or folder that is made.
        streams: Name of the stream by modality.

    Raises:
        UsageError: The format is unknown or not written, or cannot hold the dataset; or the path is a folder where a
            file is written, or the other way round, or below a folder that there is not.
    """
    form = find(name)
    if form.writer is None:
        written = ", ".join(other for other, form in available()[0].items() if form.writer)
        raise UsageError(f"{name} is read, not written; written are {written}.")
    _refuse_place(name, form, path)
    _function(form.writer)(dataset, path, streams=streams)


def _refuse_place(name: str, form: Format, path: Path) -> None:
    if form.suffix and path.is_dir():
        raise UsageError(
            f"{path} is a folder; {name} is one file: give its name, as {path / f'features{form.suffix}'}."
        )
    if form.suffix == "" and (path.is_file() or path.suffix.lower() in _OF_FILES):
        raise UsageError(
            f"{path} is the name of a file; {name} is written as a folder of files: give a folder, as "
            f"{path.with_name(path.stem + '-' + name)}."
        )
    require_parent(path)


def options_of(name: str) -> dict[str, Any]:
    """The options of a format's reader with their defaults."""
    form = find(name)
    return {} if form.reader is None else _options(_function(form.reader))


def _function(home: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(home, str):
        return home
    module, _, function = home.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"mse_pipeline.exchange.{module}"), function)
    return found


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {one.name: one.default for one in parameters if one.name != "dataset"}


def _converted(name: str, function: Callable[..., Any], options: Mapping[str, str]) -> dict[str, Any]:
    known = _options(function)
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{name} has no option {key!r}{did_you_mean(key, known)}; {has}.")
        values[key] = _value(name, key, text, known[key])
    return values


def _value(name: str, key: str, text: str, default: Any) -> Any:
    """A text as the type of the option's default; options without one (None) are texts."""
    try:
        if isinstance(default, bool):
            return _WORDS[text.lower()]
        if isinstance(default, int | float):
            return type(default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise UsageError(f"Option {key} of {name} must be {kind}, got {text!r}.") from None
    return text
