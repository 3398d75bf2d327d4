"""The frozen promise, checked after the fact: without its adapter, a run's backbone is its original checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from mse_pipeline import backbones
from mse_pipeline.adapter import Model, TrainedModel
from mse_pipeline.adapter import load as load_adapter
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.checkpoint import read_checkpoint
from mse_pipeline.backbones.devices import quantization_config
from mse_pipeline.backbones.gguf import is_gguf
from mse_pipeline.backbones.loading import locate
from mse_pipeline.backbones.none import NONE
from mse_pipeline.backbones.prompt import Prompt, encode
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.training.reading import Batch, answer_logits, read
from mse_pipeline.training.run_files import RESULT, RUN, read_json


@dataclass(frozen=True)
class Check:
    """One thing that was compared.

    Attributes:
        what: What with what, as a sentence.
        same: Whether they are equal.
        found: What was seen, in a few words.
    """

    what: str
    same: bool
    found: str


@dataclass(frozen=True)
class RunFolder:
    """What a run's folder says of its backbone.

    Attributes:
        path: The folder.
        dataset: Name in the cache.
        backbone: ``name``, ``source``, ``revision``, ``digest`` and ``dtype`` of run.json.
        prompt: ``language`` and ``task`` likewise.
        seeds: Folders of the trainings that are done.
    """

    path: Path
    dataset: str
    backbone: dict[str, Any]
    prompt: dict[str, Any]
    seeds: tuple[Path, ...]


def open_run(path: Path) -> RunFolder:
    """Read a run's folder.

    Raises:
        UsageError: It holds no run, or none that is done.
    """
    try:
        description = read_json(path / RUN)
        config = description["config"]
        seeds = tuple(sorted(one.parent for one in path.glob(f"seed-*/{RESULT}")))
        run = RunFolder(path, str(description["dataset"]), dict(config["backbone"]), dict(config["prompt"]), seeds)
        if not {"name", "source", "revision", "digest", "dtype"} <= run.backbone.keys():
            raise KeyError("backbone")
    except (MseError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no run folder (it has no readable {RUN}): give one as in runs/NAME.") from error
    if not seeds:
        raise UsageError(f"{path} has no training that is done: run `mse train` again.")
    if run.backbone["name"] == NONE:
        raise UsageError(f"The run {path} reads no backbone, so there is none to check.")
    return run


def verify(run: RunFolder, texts: Sequence[str], device: str = "cpu") -> list[Check]:
    """Compare digests, and logits bit by bit; one model is in memory at a time.

    Args:
        run: The run.
        texts: What is read, one text a comparison; those of test clips.
        device: Where models compute.

    Raises:
        UsageError: The checkpoint is not there any more.
        MseError: It, or an adapter, is damaged.
    """
    about = run.backbone
    digest = about["digest"]
    after = {read_json(seed / RESULT).get("backbone_digest") for seed in run.seeds}
    checks = [
        Check(
            f"The digest of all weights before training, and after it ({len(run.seeds)} seeds)",
            after == {digest},
            digest[:16],
        )
    ]
    squeezed = about.get("quantization")
    again = backbones.load(
        _name(about), dtype=about["dtype"], device=device, revision=_revision(about), quantization=squeezed
    )
    checks.append(Check("That digest, and the checkpoint's, loaded again", again.digest() == digest, again.source))
    adapter, _ = load_adapter(run.seeds[0] / "adapter")
    before = _logits(again.model, again.tokenizer, run, texts)
    _use(again, adapter, run)
    after_use = _logits(again.model, again.tokenizer, run, texts)
    checks.append(_compare("Logits without the adapter, before and after it was put to use", before, after_use))
    tokenizer = again.tokenizer
    del again, after_use
    place = locate(_name(about), _revision(about))
    if place.path is not None:
        plain, how = _plain(place.path, about["dtype"], device, squeezed)
        loaded = _logits(plain, tokenizer, run, texts)
        checks.append(_compare(f"Logits without the adapter, and those of {how}", before, loaded))
    return checks


def _name(about: dict[str, Any]) -> str:
    return str(about["name"] if about["source"] == "built-in" else about["source"])


def _revision(about: dict[str, Any]) -> str | None:
    """The commit that was trained with; folders and the built-in backbone have none to ask for."""
    of_the_hub = about["source"] != "built-in" and not Path(about["source"]).expanduser().is_dir()
    return about["revision"] if of_the_hub else None


def _logits(model: Any, tokenizer: Any, run: RunFolder, texts: Sequence[str]) -> list[torch.Tensor]:
    """Logits (L, vocabulary) of the prompt around each text, without pseudo tokens."""
    prompt = Prompt.build(
        tokenizer,
        family=str(model.config.model_type),
        task_prompt=run.prompt["task"],
        language=run.prompt["language"],
    )
    found = []
    for text in texts:
        ids = torch.tensor([[*prompt.before, *encode(tokenizer, text), *prompt.after]], device=model.device)
        with torch.no_grad():
            found.append(model(input_ids=ids, use_cache=False).logits[0].cpu())
    return found


def _use(backbone: Backbone, adapter: Model, run: RunFolder) -> None:
    """One pass as in training, with features of zeros."""
    prompt = Prompt.build(
        backbone.tokenizer, family=backbone.family, task_prompt=run.prompt["task"], language=run.prompt["language"]
    )
    features: dict[str, Any] = {}
    for modality, dim in (("acoustic", adapter.config.acoustic_dim), ("visual", adapter.config.visual_dim)):
        if dim is not None:
            features |= {modality: torch.zeros(1, 2, dim), f"{modality}_lengths": torch.tensor([2])}
    ids = torch.tensor([prompt.after])
    batch = Batch(clips=("",), text_ids=ids, text_mask=torch.ones_like(ids, dtype=torch.bool), **features)
    adapter.to(backbone.device)
    with torch.no_grad(), adapter.in_force(backbone):
        answer_logits(backbone, read(backbone, cast(TrainedModel, adapter), prompt, batch), keep=1)


def _plain(folder: Path, dtype: str, device: str, quantization: str | None = None) -> tuple[Any, str]:
    """The checkpoint as transformers alone loads it, and how that was done."""
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": "sdpa"}
    if is_gguf(folder):
        model = AutoModelForCausalLM.from_pretrained(str(folder.parent), gguf_file=folder.name, **options)
        return model.to(device).eval(), f"{folder} as transformers alone loads it"
    checkpoint = read_checkpoint(folder)
    squeezed = quantization_config(quantization, torch.device(device), options["dtype"])
    if squeezed:
        options |= {"quantization_config": squeezed, "device_map": {"": device}}
    with TemporaryDirectory() as temporary:
        where, how = str(folder), f"{folder} as transformers alone loads it"
        if checkpoint.layout is not None:
            where = str(backbones.convert(folder, Path(temporary) / "converted"))
            how = f"{folder} converted to the layout of transformers and loaded by transformers alone"
        model = AutoModelForCausalLM.from_pretrained(
            where, use_safetensors=not checkpoint.pickled or where != str(folder), trust_remote_code=False, **options
        )
    return (model if squeezed else model.to(device)).eval(), how


def _compare(what: str, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> Check:
    same = len(first) == len(second) and all(map(torch.equal, first, second))
    numbers = sum(one.numel() for one in first)
    if same:
        return Check(what, True, f"{numbers:,} numbers of {len(first)} texts, all bits equal")
    pairs = [
        (a.double() - b.double()).abs().max().item() for a, b in zip(first, second, strict=True) if a.shape == b.shape
    ]
    largest = f"largest difference {max(pairs):.3g}" if pairs else "of other shapes"
    return Check(what, False, f"{numbers:,} numbers of {len(first)} texts, {largest}")
