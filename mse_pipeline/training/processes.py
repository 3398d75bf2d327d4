"""Processes: one training by one process or by many (Hugging Face Accelerate), as whoever started them says.

`torchrun` and `accelerate launch` start the same program several times and tell each copy its place by environment
variables. All copies do the same, each with its part of every batch; the main one alone writes files.

Sharding: a frozen backbone that no single device holds, spread over the processes (FSDP2 of torch).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState
    from torch import nn

    from mse_pipeline.backbones.backbone import Backbone


def shard_model(backbone: Backbone, device: str) -> None:
    """Spread the weights of a backbone's layers over all processes, in place.

    Each process keeps its part of every layer and has a layer whole only while that computes, in the forward and in
    the backward pass. Embeddings, head and what else lies outside of the layers stay whole in each process:
    embeddings are read outside of the model's own forward pass, and may share their weights with the head. All
    processes must call the model equally often.

    Args:
        backbone: As loaded, the same in all processes; it may lie in the memory of the host. One that is sharded
            already stays as it is.
        device: Of this process; the parts are brought there layer by layer.

    Raises:
        UsageError: torch is too old, or the weights are quantized.
    """
    import torch

    try:
        from torch.distributed.fsdp import FSDPModule, fully_shard
    except ImportError as error:  # before torch 2.6
        raise UsageError(f"Sharding the backbone needs torch 2.6 or newer, and this is {torch.__version__}.") from error
    if getattr(backbone.model, "is_quantized", False):
        raise UsageError(
            f"The backbone {backbone.name} is quantized, and quantized weights cannot be sharded: leave one of the two."
        )
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(torch.device(device).type, (get_world_size(),))
    chosen = layers(backbone.model)
    if isinstance(chosen[0], FSDPModule):
        return
    for layer in chosen:
        fully_shard(layer, mesh=mesh)
    inside = {id(tensor) for layer in chosen for tensor in (*layer.parameters(), *layer.buffers())}
    for tensor in (*backbone.model.parameters(), *backbone.model.buffers()):
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(device)


def layers(model: Any) -> nn.ModuleList:
    """The list of a model's layers: of all lists of modules, the one with the most weights.

    Raises:
        UsageError: It has none.

    Examples:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Embedding(9, 4), nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]))
        >>> len(layers(model))
        2
    """
    from torch import nn

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise UsageError(f"{type(model).__name__} cannot be sharded: it has no list of layers.")
    return max(lists, key=lambda one: sum(weight.numel() for weight in one.parameters()))


Item = TypeVar("Item")

_TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others: the first to come downloads the backbone meanwhile."""
_STORE_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, eq=False)
class Processes:
    """The processes that train together, seen from one of them.

    Attributes:
        rank: Place of this one, from 0.
        count: How many there are.
        device: Where this one computes.
        sharded: The backbone's weights are spread over them (FSDP); else each holds it whole.
        state: Accelerate's; None for a process alone.

    Examples:
        >>> alone = Processes()
        >>> alone.main, alone.share("abc"), alone.gather([1, 2]), alone.from_main("this")
        (True, 'abc', [1, 2], 'this')
        >>> [Processes(rank=rank, count=3).share("abcde") for rank in range(3)]
        ['a', 'bc', 'de']
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    sharded: bool = False
    state: PartialState | None = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of what all have: parts follow each other, and none is longer than another by two."""
        low, high = (len(items) * rank // self.count for rank in (self.rank, self.rank + 1))
        return items[low:high]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of the processes' tensors, the same bits in each of them."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        summed: torch.Tensor = reduce(tensor, reduction="sum")
        return summed

    def gather(self, own: list[Any]) -> list[Any]:
        """What all processes have, in their order; every one gets it."""
        if self.count == 1:
            return own
        from accelerate.utils import gather_object

        return list(gather_object(own))

    def from_main(self, value: Any) -> Any:
        """What the main process has; what the others give is not looked at."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """One process of a machine goes first, the others when it is through: they find what it has downloaded."""
        if self.state is None:
            yield
            return
        with self.state.local_main_process_first():
            yield


ALONE = Processes()


def launched() -> bool:
    """Whether this process is one of several that torchrun, accelerate launch or their like have started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def join(device: str = "cpu") -> Processes:
    """Meet the other processes; a process that was started alone stays so. Joining again gives the same.

    Args:
        device: ``cpu``, or ``cuda`` for the GPU of each one's local rank.

    Returns:
        Where `launched`, all processes, of which each computes on its own device. ``ACCELERATE_USE_FSDP=true``, which
        ``accelerate launch --use_fsdp`` sets, asks for the backbone to be sharded.

    Raises:
        UsageError: The device is none that several processes can share.

    Examples:
        >>> join("cuda:1").device
        'cuda:1'
    """
    if not launched():
        return Processes(device=device)
    local = int(os.environ["LOCAL_RANK"])
    own = f"cuda:{local}"
    if device not in {"cpu", "cuda", own}:
        raise UsageError(
            f"{os.environ['WORLD_SIZE']} processes cannot all compute on {device}: give --device cuda, which is the "
            "GPU of its number for each process of a machine, or --device cpu."
        )
    if device != "cpu":
        from mse_pipeline.backbones.devices import device as find_device

        find_device(own)
    from accelerate import PartialState

    # transformers would load the weights in one process of a machine alone, and leave the others random numbers.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    state = PartialState(cpu=device == "cpu", timeout=_TIMEOUT)
    return Processes(
        rank=state.process_index,
        count=state.num_processes,
        device="cpu" if device == "cpu" else own,
        sharded=os.environ.get("ACCELERATE_USE_FSDP", "").lower() in {"1", "true"},
        state=state,
    )


def first_to_fail() -> bool:
    """Whether this process is the first of all to ask, so that one of them tells what went wrong, and only one.

    They ask the key-value store by which they have met, as a process that fails cannot count on the others to take
    part in anything. Where it does not answer, the process that served it, the main one, has failed before.
    """
    if not launched():
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=_STORE_TIMEOUT)
        return int(store.add(f"mse/failed/{attempt}", 1)) == 1
    except Exception:  # no address, no answer, an answer of another protocol
        return os.environ.get("RANK") == "0"


def leave() -> None:
    """Part from the other processes, when all have done all; nothing where none were met."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
