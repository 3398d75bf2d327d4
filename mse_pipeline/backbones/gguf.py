"""GGUF files: what one claims of itself, checked against its bytes, and the model and tokenizer that it holds.

A GGUF file is a language model with its tokenizer in one file, mostly quantized (ggml-org/ggml, docs/gguf.md). The
package `gguf` and transformers read it; the weights are written out as plain numbers, which are those of the
quantized file. Both trust the file's counts, so `read_header` compares all of them with the file's size before.
"""

from __future__ import annotations

import io
import mmap
import struct
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mse_pipeline.backbones.checkpoint import MOST_LAYERS, first_line, require_causal, require_whole
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.file_kinds import kind_of
from mse_pipeline.model_files import WEIGHT_FILES

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_WIDTHS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type of a value -> its code in `struct`."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_MOST_DIMENSIONS = 4
_LONGEST_TOKEN = 1024
"""Bytes of a token; tokenizers without merges try every cut of each, and the longest that are in use have some 256."""
_PLAIN = frozenset({"F64", "F32", "F16", "BF16"})
"""Types of tensors that are not quantized."""


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself, once it has been found to fit the file's size.

    Attributes:
        path: The file.
        architecture: As llama.cpp calls it, as in ``llama`` or ``gemma3``.
        facts: Its single values by key; arrays are left out.
        tensors: Shape of each tensor, in the file's order of dimensions.
        quantization: As the file calls it, as in ``Q4_K_M``, or the type of most of its numbers.
        quantized: Whether any tensor is.
        bits: A weight takes so many in the mean.
    """

    path: Path
    architecture: str
    facts: Mapping[str, Any]
    tensors: Mapping[str, tuple[int, ...]]
    quantization: str
    quantized: bool
    bits: float

    @property
    def stored_as(self) -> str:
        """How the weights are stored, as in ``GGUF Q4_K_M, 5.9 bits a weight``."""
        return f"GGUF {self.quantization}, {self.bits:.1f} bits a weight"

    @property
    def elements(self) -> int:
        """Numbers of all tensors."""
        return sum(map(_product, self.tensors.values()))


def is_gguf(path: Path) -> bool:
    """Whether a place is a GGUF file by its name."""
    return path.suffix.lower() == ".gguf" and not path.is_dir()


def inside(folder: Path) -> Path | None:
    """The GGUF file of a folder that has no other weights; None where there is none.

    Raises:
        UsageError: There are several.
    """
    if any((folder / name).is_file() for name in WEIGHT_FILES):
        return None
    files = sorted(path for path in folder.iterdir() if is_gguf(path))
    if len(files) > 1:
        raise UsageError(f"{folder} holds {len(files)} GGUF files: give one of them, as in --backbone {files[0]}.")
    return files[0] if files else None


def read_header(path: Path) -> GgufHeader:
    """Read what a file says of itself; nothing of it is believed that goes beyond its size.

    Raises:
        UsageError: The package `gguf` is missing, or the file is a part of several, of another byte order or version.
        MseError: It is no GGUF file, or is damaged.
    """
    _require_package()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).header()
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise _broken(path, first_line(error)) from error


@dataclass
class _Reader:
    """Walks through a file from its first byte.

    Attributes:
        path: For the sentences.
        data: The file.
        place: Of the next byte.
    """

    path: Path
    data: mmap.mmap
    place: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def header(self) -> GgufHeader:
        """All up to the values of the tensors."""
        if self.data[: len(_MAGIC)] != _MAGIC:
            raise _broken(self.path, "it does not begin as one")
        self.place = len(_MAGIC)
        self._version()
        tensors = self._count("tensors", smallest=24)
        for _ in range(self._count("keys", smallest=13)):
            key = self._string("a key")
            self._value(key)
        if int(self.facts.get("split.count", 1)) > 1:
            raise UsageError(
                f"{self.path} is one of {self.facts['split.count']} parts of a model: join them with "
                "`llama-gguf-split --merge FIRST-PART WHOLE.gguf`, and give the whole."
            )
        architecture = self.facts.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise _broken(self.path, "it names no architecture (general.architecture)")
        return self._tensors(tensors, architecture)

    def _version(self) -> None:
        version = self._number("I")
        if version & 0xFFFF == 0:
            raise UsageError(f"{self.path} is a GGUF file for big-endian machines: take the usual, little-endian one.")
        if version not in _VERSIONS:
            raise UsageError(
                f"{self.path} is GGUF of version {version}, and versions 2 and 3 are read: convert it anew with a "
                "llama.cpp of today."
            )

    def _tensors(self, count: int, architecture: str) -> GgufHeader:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        shapes: dict[str, tuple[int, ...]] = {}
        ends, sizes, kinds = 0, 0, Counter[str]()
        for _ in range(count):
            name = self._string("a tensor's name")
            dimensions = self._number("I")
            if not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise _broken(self.path, f"tensor {name!r} has {dimensions} dimensions")
            shape = tuple(self._number("Q") for _ in range(dimensions))
            kind, offset = self._number("I"), self._number("Q")
            if kind not in list(GGMLQuantizationType):
                raise UsageError(
                    f"{self.path}: tensor {name!r} is of ggml type {kind}, which the installed package gguf does not "
                    "know: `pip install --upgrade gguf`, or take another quantization, as Q4_K_M or Q8_0."
                )
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
            if name in shapes or not all(shape) or shape[0] % block:
                raise _broken(self.path, f"tensor {name!r} is there twice or has an impossible shape {shape}")
            shapes[name] = shape
            bytes_ = _product(shape) // block * size
            ends, sizes = max(ends, offset + bytes_), sizes + bytes_
            kinds[GGMLQuantizationType(kind).name] += _product(shape)
        alignment = self.facts.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _broken(self.path, f"its alignment is {alignment!r}")
        held = len(self.data) - (self.place + -self.place % alignment)
        # Tensors that lie over each other could ask for any amount of memory.
        if not shapes or max(ends, sizes) > held:
            raise _broken(
                self.path, f"its {len(shapes)} tensors take {max(ends, sizes):,} bytes, and {max(held, 0):,} are there"
            )
        return GgufHeader(
            path=self.path,
            architecture=architecture,
            facts=self.facts,
            tensors=shapes,
            quantization=_named(self.facts.get("general.file_type"), kinds),
            quantized=not kinds.keys() <= _PLAIN,
            bits=8 * sizes / sum(kinds.values()),
        )

    def _value(self, key: str) -> None:
        """A value: single ones are kept, arrays passed over."""
        kind = self._number("I")
        if kind == _STRING:
            self.facts[key] = self._string(key)
        elif kind == _ARRAY:
            kind = self._number("I")
            if kind == _STRING:
                longest = _LONGEST_TOKEN if key == "tokenizer.ggml.tokens" else None
                for _ in range(self._count(key, smallest=8)):
                    self._skip_string(key, longest)
            else:
                width = struct.calcsize(self._code(key, kind))
                self._take(self._count(key, smallest=width) * width, key)
        else:
            self.facts[key] = self._number(self._code(key, kind))

    def _code(self, key: str, kind: int) -> str:
        if kind not in _WIDTHS:
            raise _broken(self.path, f"{key[:60]!r} is of the unknown type {kind}")
        return _WIDTHS[kind]

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize(code), "a number"))[0]

    def _count(self, what: str, smallest: int) -> int:
        """A number of things that take at least `smallest` bytes each."""
        count = int(self._number("Q"))
        if count * smallest > len(self.data) - self.place:
            raise _broken(self.path, f"it claims {count:,} {what[:60]}, more than its bytes hold")
        return count

    def _string(self, what: str) -> str:
        return self._take(self._number("Q"), what).decode("utf-8", errors="replace")

    def _skip_string(self, what: str, longest: int | None) -> None:
        length = self._number("Q")
        if longest is not None and length > longest:
            raise _broken(self.path, f"{what} has a token of {length:,} bytes")
        self._take(length, what)

    def _take(self, length: int, what: str) -> bytes:
        if length > len(self.data) - self.place:
            raise _broken(self.path, f"it ends within {what[:60]!r}")
        self.place += length
        return self.data[self.place - length : self.place]


def _named(file_type: Any, kinds: Counter[str]) -> str:
    """Name of a quantization: the file's own, or that of most numbers where it tells none."""
    from gguf import LlamaFileType

    if file_type in list(LlamaFileType):
        return LlamaFileType(file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    return kinds.most_common(1)[0][0]


def read_tokenizer(header: GgufHeader) -> Any:
    """The tokenizer of a file, as one of transformers.

    Raises:
        MseError: It has none, or it is damaged.
    """
    from transformers import PreTrainedTokenizerFast

    # Not by AutoTokenizer, which reads the whole configuration once more: seconds with a large vocabulary.
    tokenizer = _with_transformers(PreTrainedTokenizerFast.from_pretrained, header, "The tokenizer")
    _prepend_always(tokenizer.backend_tokenizer)
    return tokenizer


def _prepend_always(backend: Any) -> None:
    """Write a space before every text, as sentencepiece and llama.cpp do, also before one that begins with a space."""
    from tokenizers import normalizers, pre_tokenizers

    cut = backend.pre_tokenizer
    if isinstance(cut, pre_tokenizers.Metaspace) and cut.prepend_scheme != "never":
        spelled = cut.replacement
        backend.normalizer = normalizers.Sequence([normalizers.Prepend(spelled), normalizers.Replace(" ", spelled)])
        backend.pre_tokenizer = None


def read_config(header: GgufHeader) -> Any:
    """The configuration of a file, as one of transformers, where it is a causal language model.

    Raises:
        UsageError: It is of an architecture that transformers does not read from GGUF, or no causal language model.
        MseError: It asks for more than the file holds.
    """
    import transformers

    try:
        config = _with_transformers(transformers.AutoConfig.from_pretrained, header, "The configuration")
    except MseError as error:
        if "not supported" not in str(error):
            raise
        raise UsageError(
            f"{header.path} holds a {header.architecture!r} model, which transformers {transformers.__version__} does "
            "not read from GGUF: take the model's folder with .safetensors files, or a newer transformers."
        ) from error
    require_causal(header.path, config.to_dict(), config.model_type)
    layers = config.get_text_config().num_hidden_layers
    blocks = len({name.split(".")[1] for name in header.tensors if name.startswith("blk.")})
    if not isinstance(layers, int) or not 0 < layers <= min(blocks, MOST_LAYERS):
        raise MseError(f"{header.path} claims {layers} layers and has tensors of {blocks}: download it again.")
    return config


def shapes(header: GgufHeader) -> Any:
    """The model of a file without its weights, on the meta device.

    Raises:
        UsageError, MseError: As `read_config`.
    """
    from transformers import AutoModelForCausalLM

    config = read_config(header)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:
        # transformers raises a dozen unrelated types, bare Exception among them.
        raise MseError(f"No model can be made of what {header.path} says: {first_line(error)}") from error
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > header.elements:
        raise MseError(
            f"{header.path} describes a model of {wanted:,} parameters and holds {header.elements:,}: it is incomplete "
            "or damaged. Download it again."
        )
    return model


def read_model(header: GgufHeader, dtype: torch.dtype) -> Any:
    """The model of a file, its weights written out in a number format.

    Args:
        header: Of the file.
        dtype: The number format.

    Raises:
        UsageError: It is of another kind.
        MseError: It is damaged or incomplete.
    """
    import transformers

    # From 5.20 on transformers would keep the weights of some architectures packed.
    plain = (
        {"quantization_config": transformers.GgufConfig(dequantize=True)} if hasattr(transformers, "GgufConfig") else {}
    )
    # The bar of the conversion knows no terminal, and would be a line of fragments in a log.
    silent = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    with silent:
        model, report = _with_transformers(
            transformers.AutoModelForCausalLM.from_pretrained,
            header,
            "The model",
            config=shapes(header).config,
            dtype=dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **plain,
        )
    require_whole(header.path, report)
    return model


def _with_transformers(read: Callable[..., Any], header: GgufHeader, what: str, **options: Any) -> Any:
    """What transformers makes of a file alone: it would take a tokenizer.json that lies beside, of any model."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            (folder / header.path.name).symlink_to(header.path.resolve())
        except OSError:  # some systems allow no links
            folder = header.path.parent
        # transformers, tokenizers and gguf raise a dozen unrelated types, bare Exception among them.
        try:
            return read(
                str(folder), gguf_file=header.path.name, trust_remote_code=False, local_files_only=True, **options
            )
        except Exception as error:
            raise MseError(f"{what} of {header.path} cannot be read: {first_line(error)}") from error


def _require_package() -> None:
    if find_spec("gguf") is None:
        raise UsageError('A backbone in a .gguf file needs the package gguf: `pip install "mse-pipeline[gguf]"`.')


def _broken(path: Path, why: str) -> MseError:
    kind = kind_of(path)
    what = f"it is {kind}" if kind is not None and not kind.text else f"{why.rstrip('.')}. Download it again."
    return MseError(f"{path} cannot be read as GGUF: {what}")


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
