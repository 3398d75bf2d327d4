"""Entry: what is told of an extractor without loading it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from mse_pipeline.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """What is told of an extractor without loading it.

    Attributes:
        module: Where its class is.
        class_name: The class.
        dim: Number of values a row with the default options; None where the options, or a model, decide.
        summary: What the values are, in a line.
        licence: Licence of the model or tool that makes them.
        needs: What must be fetched to use it; empty where nothing.
        packages: The modules behind it; it runs where all of them are installed.
        model: The model and its revision; empty where there is none.
        size: Bytes of the model.
        file: The model's file in the models' folder, where it lies in one.
        brought_by: The installed package that it comes with; empty for this one.
    """

    module: str
    class_name: str
    dim: int | None
    summary: str
    licence: str
    needs: str = ""
    packages: tuple[str, ...] = field(default=(), kw_only=True)
    model: str = field(default="", kw_only=True)
    size: int | None = field(default=None, kw_only=True)
    file: str = field(default="", kw_only=True)
    brought_by: str = field(default="", kw_only=True)

    def load(self) -> Any:
        """The extractor's class. Light: the libraries behind it are imported when it first runs.

        Raises:
            UsageError: It comes with another package, which is broken or brings something else.
        """
        if self.brought_by:
            from mse_pipeline.extractors.plugins import load

            return load(self)
        return getattr(import_module(self.module), self.class_name)

    def missing(self) -> str:
        """What keeps it from running here, as a sentence; empty where nothing does."""
        absent = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if absent:
            names = " ".join(name.replace("_", "-") for name in absent)
            return f"Not installed: pip install {names}"
        if self.brought_by:
            try:
                self.load()
            except UsageError as error:
                return str(error)
        if self.file:
            from mse_pipeline.extractors.visual.weights import models_folder

            if not (models_folder() / self.file).is_file():
                return f"{self.file} is not in {models_folder()}; it is downloaded at the first use."
        return ""
