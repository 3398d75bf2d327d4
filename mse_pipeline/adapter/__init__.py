"""MSE-Adapter: the small trained part that lets a frozen language model read acoustic and visual features.

Examples:
    >>> import torch
    >>> from mse_pipeline import adapter
    >>> config = adapter.AdapterConfig(hidden_size=64, acoustic_dim=25, visual_dim=None, pseudo_tokens=2)
    >>> model = adapter.MSEAdapter(config)
    >>> clips, rows, tokens = 3, 7, 5
    >>> acoustic, lengths = torch.randn(clips, rows, 25), torch.tensor([7, 0, 4])
    >>> text, mask = torch.randn(clips, tokens, 64), torch.ones(clips, tokens)
    >>> model(acoustic, lengths, None, None, text, mask).shape
    torch.Size([3, 2, 64])
"""

from __future__ import annotations

from mse_pipeline.adapter.base import DirectModel, Model
from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.model import MSEAdapter, TrainedModel
from mse_pipeline.adapter.models import build
from mse_pipeline.adapter.reference import load_reference_state, reference_names, reference_state
from mse_pipeline.adapter.save import load, save

__all__ = [
    "AdapterConfig",
    "DirectModel",
    "MSEAdapter",
    "Model",
    "TrainedModel",
    "build",
    "load",
    "load_reference_state",
    "reference_names",
    "reference_state",
    "save",
]
