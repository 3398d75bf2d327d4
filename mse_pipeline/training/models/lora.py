"""lora and mse-adapter-lora: low-rank updates of the backbone (Hu et al., ICLR 2022), alone or beside the adapter.

Equation (3) of the paper: h = W0 x + (alpha / r) B A x, with A as PEFT draws it and B zero, so that the backbone begins
as it was. The matrices, their dropout and their scale are those of PEFT's LoRA layers, for the modules that PEFT's
table has for the architecture (queries and values) or that ``targets`` names. They are put to use by hooks for as long
as a pass takes: PEFT's own wrapper takes the place of the backbone's layers, which renames its weights and holds one
model at a time. So the base stays what it is, and its digest too.

``r``, ``alpha`` and ``dropout`` are PEFT's; ``budget: matched`` takes the rank that has nearest to the parameters of
the MSE-Adapter. Beside the weights, a folder ``lora`` has them as `PeftModel.from_pretrained` reads them.

``mse-adapter-lora`` trains both together; text-guided pseudo tokens into a backbone that learns. No paper has exactly
this; on MELD, systems of 2025-26 that tune a language model by LoRA with the dialogue's context lead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, MSEAdapter, TrainedModel
from mse_pipeline.errors import UsageError
from mse_pipeline.store.storage import aside, write_json
from mse_pipeline.training.models.prompt_tuning import check_choice, nearest
from mse_pipeline.training.models.text_only import TextAlone

FOLDER = "lora"


class _LowRank(TrainedModel):
    """What both models have: the updates, by the path of the module that they are of.

    Attributes:
        updates: PEFT's LoRA layers without the layers that they update.
    """

    steers_backbone = True
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **{"r": 8, "alpha": 8, "dropout": 0.0, "targets": "", "budget": "given"},
        **{"family": "", "modules": []},
    }

    def add_updates(self) -> None:
        """Make the updates, of what the options say."""
        from peft import inject_adapter_in_model

        # The layers that are updated are of no use here, so they have no memory; what PEFT adds gets some.
        shells = nn.ModuleDict()
        for path, inner, outer in self.options["modules"]:
            shells[_key(path)] = nn.Linear(int(inner), int(outer), bias=False, device="meta")
        device = torch.empty(()).device
        inject_adapter_in_model(self._peft([_key(path) for path, _, _ in self.options["modules"]]), shells)
        self.updates = nn.ModuleDict()
        for name, layer in shells.items():
            found: Any = layer
            parts = {
                "A": found.lora_A["default"],
                "B": found.lora_B["default"],
                "dropout": found.lora_dropout["default"],
            }
            part: Any = nn.ModuleDict(parts)
            if device.type != "meta":
                part.to_empty(device=device)
                nn.init.kaiming_uniform_(part["A"].weight, a=5**0.5)  # as PEFT does, on a device that has memory
                nn.init.zeros_(part["B"].weight)
            self.updates[name] = part
        for parameter in self.updates.parameters():
            parameter.requires_grad_(True)

    def _peft(self, targets: list[str]) -> Any:
        from peft import LoraConfig

        told = self.options
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=told["r"],
            lora_alpha=told["alpha"],
            lora_dropout=told["dropout"],
            target_modules=targets,
        )

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """With the modules that are updated and their widths, and the rank that the budget asks for.

        Raises:
            UsageError: The backbone has no such modules, or PEFT knows none for its architecture.
        """
        check_choice("budget", options["budget"], ("given", "matched"))
        names = tuple(filter(None, map(str.strip, str(options["targets"]).split(",")))) or _usual(backbone)
        modules = [
            [path, *_widths(module)]
            for path, module in backbone.model.named_modules()
            if path.rpartition(".")[2] in names and hasattr(module, "weight")
        ]
        if not modules:
            raise UsageError(
                f"The backbone {backbone.name} has no module called {' or '.join(names)}: name others with "
                "training.model_options.targets, as in q_proj,v_proj."
            )
        rank = options["r"]
        if options["budget"] == "matched":
            rank = nearest(matched(), sum(inner + outer for _, inner, outer in modules))
        return {**options, "r": rank, "family": backbone.family, "modules": modules}

    @contextmanager
    def in_force(self, backbone: Any) -> Iterator[None]:
        """Add the updates to what the backbone's modules make."""
        scale = self.options["alpha"] / self.options["r"]
        with ExitStack() as stack:
            for path, _, _ in self.options["modules"]:
                hook = partial(_updated, self.updates[_key(path)], scale)
                stack.callback(backbone.model.get_submodule(path).register_forward_hook(hook).remove)
            yield

    def _weight(self, path: str, name: str) -> torch.Tensor:
        """The matrix A or B of a module, on the CPU."""
        update: Any = self.updates[_key(path)]
        weight: torch.Tensor = update[name].weight.detach().cpu().contiguous()
        return weight

    def write_beside(self, folder: Path) -> None:
        """The updates as PEFT writes them, in a folder of their own."""
        from safetensors.torch import save_file

        home = folder / FOLDER
        home.mkdir(parents=True, exist_ok=True)
        parts = ((path, name) for path, _, _ in self.options["modules"] for name in ("A", "B"))
        state = {f"base_model.model.{path}.lora_{name}.weight": self._weight(path, name) for path, name in parts}
        with aside(home / "adapter_model.safetensors") as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
        told = self._peft([path for path, _, _ in self.options["modules"]]).to_dict()
        plain = {name: sorted(value) if isinstance(value, set) else value for name, value in told.items()}
        write_json(home / "adapter_config.json", {**plain, "inference_mode": True})


class Lora(_LowRank, TextAlone):
    """The backbone with low-rank updates, reading the text alone."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.add_updates()


class AdapterLora(_LowRank, MSEAdapter):
    """The MSE-Adapter and low-rank updates, trained together."""

    adapted = "the MSE-Adapter, with LoRA"

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.add_updates()


def _updated(update: Any, scale: float, module: nn.Module, given: tuple[Any, ...], made: torch.Tensor) -> torch.Tensor:
    """What a module makes, with its low-rank update; computed in float32 and added in the backbone's number format."""
    low = update["A"](update["dropout"](given[0].to(update["A"].weight.dtype)))
    return made + (scale * update["B"](low)).to(made.dtype)


def _key(path: str) -> str:
    """A module's path as a name in a `ModuleDict`."""
    return path.replace(".", "/")


def _usual(backbone: Any) -> tuple[str, ...]:
    """The modules that PEFT updates in an architecture.

    Raises:
        UsageError: It does not know it.
    """
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    names = TABLE.get(backbone.family)
    if not isinstance(names, list):
        raise UsageError(
            f"PEFT names no modules of {backbone.family} for LoRA: give them with training.model_options.targets, as "
            "in q_proj,v_proj."
        )
    return tuple(names)


def _widths(module: Any) -> tuple[int, int]:
    """Values in and out of a linear module; GPT-2's keep their weights the other way round."""
    if hasattr(module, "in_features"):
        return int(module.in_features), int(module.out_features)
    inner, outer = module.weight.shape
    return int(inner), int(outer)
