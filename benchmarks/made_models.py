"""Every model on made datasets whose label one modality alone tells, or the exclusive or of text and sound.

    python -m benchmarks.made_models --backbone ../shared/models/stories260K [--models lora,mult] [--seeds 1 2 3]

A model must learn what it can read, and only that: the table has the accuracy on test clips, of which half are right by
chance. Nets are small, so that a table takes minutes; encoders (BERT, T5, BART) are drawn at random, so it tells what
fusion can read and not what pre-training brings. Settings are the same for all models of a kind. They were tried out on
clips of the same making until a model learned what it can read: the table tells what a model can be brought to learn,
and does not compare models.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mse_pipeline import backbones, store
from mse_pipeline.adapter import models
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.loading import progress_only_on_terminals
from mse_pipeline.backbones.none import none
from mse_pipeline.clip import Clip, Split
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from mse_pipeline.training.job import Job, prepare
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.streams import choose_streams

TOLD_BY = ("acoustic", "visual", "text", "xor")
"""What tells the label; ``xor``: text and sound together, and neither alone."""
COUNT = {Split.TRAIN: 96, Split.VALID: 24, Split.TEST: 48}
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>", "</s>")
WORDS = (
    *MARKS,
    *("well", "it", "is", "nay", "aye", "then", "we", "go", "there", "so", "0", "1"),
)

_HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": (
        "BertConfig",
        "BertModel",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        | {"max_position_embeddings": 12},
    ),
    "t5": (
        "T5Config",
        "T5Model",
        {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
        # Larger than at the start of a pre-training, so that the decoder's first state tells one word from another.
        | {"initializer_factor": 2.0, "eos_token_id": 5, "decoder_start_token_id": 0},
    ),
    "bart": (
        "BartConfig",
        "BartModel",
        {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
        | {**_HEADS, "max_position_embeddings": 32, "bos_token_id": 4, "eos_token_id": 5, "decoder_start_token_id": 5},
    ),
}
"""Small encoders: the classes of transformers, and their sizes."""

SMALL: dict[str, dict[str, Any]] = {
    "linear": {},
    "lf-dnn": {"words": 8, "width": 16, "fused": 16},
    "tfn": {"words": 8, "text": 8, "others": 8, "width": 16},
    "mult": {"words": 8, "width": 16, "heads": 2, "layers": 1},
    "self-mm": {"words": 8, "text": 8, "others": 8, "fused": 16, "single": 8},
    "lfmim": {"words": 8, "width": 32, "heads": 2},
    "mag-bert": {"gate_dropout": 0.1},
    "chfn-style": {"words": 16, "width": 16, "heads": 2, "layers": 2},
    "unimse-style": {"hidden": 16, "inner": 16, "fused": 1, "tuned": 2, "prefix": "well", "stream_dropout": 0.0},
    "unisa-finetune": {"visual_rows": 5, "acoustic_rows": 5, "text_alone": False},
}
"""Models that answer themselves, with settings that make them small."""
SPEAKING: dict[str, dict[str, Any]] = {
    "text-only": {"bias": "trained"},
    "prompt-tuning": {"tokens": 3},
    "prefix-tuning": {"tokens": 3},
    "lora": {"r": 2},
    "mse-adapter-lora": {"r": 2},
    "mse-adapter": {},
}
"""Models of a backbone."""
ENCODERS = {"mag-bert": "bert", "unimse-style": "t5", "unisa-finetune": "bart"}
"""Which of the models need an encoder of which kind."""
TRAINED: dict[str, Any] = {
    **{"epochs": 20, "batch_size": 12, "learning_rate": 1e-2, "adam_epsilon": 1e-8, "keep": "last", "warm_up": 0.0},
}
_SLOWLY = ("lf-dnn", "chfn-style", "unimse-style", "unisa-finetune")
RATES = {
    **{"lfmim": 1e-3, "mult": 5e-3, "mag-bert": 3e-3, "prompt-tuning": 3e-2, "mse-adapter": 5e-3},
    **dict.fromkeys(_SLOWLY, 3e-3),
}
"""Learning rates of models that are deeper, or come to an exclusive or late."""
EPOCHS = {"lfmim": 40, "mse-adapter": 40, **dict.fromkeys(_SLOWLY, 80)}
"""Theirs."""


def made(folder: Path, by: str, count: Mapping[Split, int] = COUNT) -> store.Dataset:
    """A dataset of two classes in the cache `folder`; text, sound and picture each are one of two things by chance."""
    rng = np.random.default_rng(5)
    clips: list[Clip] = []
    rows: dict[str, dict[str, Features]] = {"acoustic": {}, "visual": {}}
    for split, clips_of_split in count.items():
        for n in range(clips_of_split):
            signs = dict(zip(("text", "acoustic", "visual"), rng.integers(0, 2, 3).tolist(), strict=True))
            right = signs["text"] ^ signs["acoustic"] if by == "xor" else signs[by]
            text = f"well it is {('nay', 'aye')[signs['text']]} then"
            clips.append(Clip(id=f"{split}/{n}", split=split, text=text, label=("no", "yes")[right]))
            for modality, stream in rows.items():
                values = rng.normal(size=(rng.integers(2, 5), 3)) * 0.3 + (2 * signs[modality] - 1)
                edges = np.arange(len(values) + 1.0)
                times = np.stack([edges[:-1], edges[1:]], 1)
                stream[clips[-1].id] = Features(values, times, np.ones(len(values), bool), ("a", "b", "c"))
    dataset = store.open(folder).create("made", clips, task=Classification(("no", "yes")))
    for modality, stream in rows.items():
        dataset.put(f"{modality}.made", stream)
    return dataset


def small_encoder(folder: Path, kind: str, words: Sequence[str] = WORDS, **more: Any) -> Path:
    """A folder of a random encoder of two layers.

    Args:
        folder: Where it is written.
        kind: bert, t5 or bart.
        words: Those that it knows, `MARKS` first.
        more: Sizes of its configuration in the place of those of `ARCHITECTURES`.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers import models as tokenizing

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(tokenizing.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config, model, sizes = ARCHITECTURES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = getattr(transformers, config)(vocab_size=len(words), pad_token_id=0, **{**sizes, **more})
        with progress_only_on_terminals():
            getattr(transformers, model)(made).save_pretrained(folder)
    return folder


def options_of(name: str, encoders: Path) -> dict[str, Any]:
    """Settings of a model, with an encoder below the folder `encoders` where it needs one."""
    own = {**SMALL, **SPEAKING}.get(name, {})
    if name not in ENCODERS:
        return own
    folder = encoders / ENCODERS[name]
    return {**own, "encoder": str(folder if folder.is_dir() else small_encoder(folder, ENCODERS[name]))}


def job_of(dataset: store.Dataset, name: str, encoders: Path, backbone: Backbone | None = None, **settings: Any) -> Job:
    """What is trained of a model; `settings` in place of `TRAINED`."""
    speaking = models.find(name).reads_backbone
    own = {"learning_rate": RATES.get(name, TRAINED["learning_rate"]), "epochs": EPOCHS.get(name, TRAINED["epochs"])}
    given = {**TRAINED, **own, "model": name, **settings}
    given["model_options"] = options_of(name, encoders)
    if speaking:
        given["decoding"] = "likeliest"
    choice = choose_streams(dataset, asked={}, model=name)
    loaded = none() if not speaking else backbone or backbones.load("tiny")
    return prepare(dataset, loaded, Training(**given), choice, PromptSection(task="No or yes? It is"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.made_models", description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="tiny", help="of the models that speak through one")
    parser.add_argument("--models", default=",".join((*SMALL, *SPEAKING)), help="with commas between them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    console, backbone = Console(width=100), backbones.load(arguments.backbone)
    shown = Table("model", *TOLD_BY, title=f"Accuracy on test clips, in percent; backbone {backbone.name}")
    with tempfile.TemporaryDirectory() as scratch:
        datasets = {by: made(Path(scratch) / by, by) for by in TOLD_BY}
        for name in arguments.models.split(","):
            cells = []
            for by in TOLD_BY:
                job = job_of(datasets[by], name, Path(scratch) / "encoders", backbone)
                cells.append(percent([fit_adapter(job, seed).scores[Split.TEST]["acc"] for seed in arguments.seeds]))
            console.print(f"{name}: {', '.join(cells)}")
            shown.add_row(name, *cells)
    console.print(shown)


def percent(shares: Sequence[float]) -> str:
    """Mean, and where there are several the least.

    Examples:
        >>> percent([0.5]), percent([1.0, 0.5])
        ('50', '75 (least 50)')
    """
    mean = f"{100 * sum(shares) / len(shares):.0f}"
    return mean if len(shares) == 1 else f"{mean} (least {100 * min(shares):.0f})"


if __name__ == "__main__":
    main()
