"""Checkpoints in the original layouts of 2023: Qwen-1 and ChatGLM2/3, read into today's classes without their code.

Both shipped Python files of their own, which today's transformers cannot run and mse would not. Their weights need none
of it: a Qwen-1 is a Qwen2 and a ChatGLM2/3 is a Glm under other names.
"""

from __future__ import annotations

from mse_pipeline.backbones.original import chatglm, qwen
from mse_pipeline.backbones.original.layout import CheckpointLayout

LAYOUTS: dict[str, CheckpointLayout] = {layout.model_type: layout for layout in (qwen.LAYOUT, chatglm.LAYOUT)}
"""By the model_type of their config.json."""


__all__ = ["LAYOUTS", "Layout"]
