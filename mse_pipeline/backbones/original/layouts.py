"""The two families, put together."""

from __future__ import annotations

from mse_pipeline.backbones.original import chatglm, qwen
from mse_pipeline.backbones.original.layout import Layout

LAYOUTS: dict[str, Layout] = {layout.model_type: layout for layout in (qwen.LAYOUT, chatglm.LAYOUT)}
"""By the model_type of their config.json."""
