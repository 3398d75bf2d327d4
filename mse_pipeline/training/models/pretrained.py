"""Pretrained: models around an encoder of others, whose first weights are in a folder in the layout of transformers.

Its tokenizer and sizes are kept with the run, so that predicting needs the folder no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.backbones.loading import progress_only_on_terminals
from mse_pipeline.errors import UsageError
from mse_pipeline.training.models.sequences import WORDS, Reader
from mse_pipeline.training.models.sequences import Sequence as Rows
from mse_pipeline.training.reading import Batch

ENCODER: dict[str, Any] = {"encoder": "", "digest": "", "sizes": {}, "tokenizer": "", "first": 0, "last": 0}
"""Settings of such a model: the folder, and what `Pretrained.planned` finds in it."""
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Architecture:
    """An architecture of transformers.

    Attributes:
        name: In words.
        types: Its names in ``config.json``.
        sizes: Keys of the configuration that shape what is computed.
        ends: The tokens before and behind a text: their spelling, or with ``_id`` their key in the configuration.
    """

    name: str
    types: tuple[str, ...]
    sizes: frozenset[str]
    ends: tuple[str, str]


BERT = Architecture(
    "BERT",
    ("bert",),
    frozenset(
        {
            *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
            *("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings"),
            *("type_vocab_size", "layer_norm_eps", "pad_token_id"),
        }
    ),
    ("[CLS]", "[SEP]"),
)
T5 = Architecture(
    "T5",
    ("t5", "mt5"),
    frozenset(
        {
            *("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads"),
            *("relative_attention_num_buckets", "relative_attention_max_distance", "dropout_rate"),
            *("layer_norm_epsilon", "feed_forward_proj", "pad_token_id", "eos_token_id", "decoder_start_token_id"),
        }
    ),
    ("decoder_start_token_id", "eos_token_id"),
)
BART = Architecture(
    "BART",
    ("bart",),
    frozenset(
        {
            *("vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads"),
            *("decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim", "activation_function", "dropout"),
            *("attention_dropout", "activation_dropout", "max_position_embeddings", "scale_embedding"),
            *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
        }
    ),
    ("bos_token_id", "eos_token_id"),
)


class Pretrained(DirectModel):
    """A direct model around an encoder.

    Attributes:
        architecture: Of the encoder.
        held_by: The attribute that has it.
        needed: Whether there is no such model without an encoder.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    architecture: ClassVar[Architecture]
    held_by: ClassVar[str]
    needed: ClassVar[bool] = True

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """With the sizes and the tokenizer of the encoder's folder.

        Raises:
            UsageError: It names no folder with such a model in safetensors and a fast tokenizer.
        """
        if not options["encoder"] and not cls.needed:
            return dict(options)
        kind, folder = cls.architecture, Path(str(options["encoder"])).expanduser()
        files = {name: folder / name for name in ("config.json", "tokenizer.json", _WEIGHTS)}
        missing = [name for name, path in files.items() if not path.is_file()]
        if not options["encoder"] or missing:
            raise UsageError(
                f"This model needs a folder of a {kind.name} model in the layout of transformers: set "
                f"training.model_options.encoder; {options['encoder'] or 'it'} has no {', '.join(missing)}."
            )
        sizes, text = _json(files["config.json"]), files["tokenizer.json"].read_text(encoding="utf-8")
        if sizes.get("model_type") not in kind.types:
            raise UsageError(
                f"The encoder {folder} is of the kind {sizes.get('model_type')}; this model needs "
                f"{' or '.join(kind.types)}."
            )
        kept = {name: value for name, value in sizes.items() if name in kind.sizes}
        first, last = _ends(kind, sizes, _tokenizer(folder, text), folder)
        with files[_WEIGHTS].open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return {**options, "sizes": kept, "tokenizer": text, "first": first, "last": last, "digest": digest}

    @classmethod
    def identity(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """SHA-256 of the weights that the encoder begins with."""
        return {"encoder": options["digest"]} if options["digest"] else {}

    @classmethod
    def reads_with(cls, options: Mapping[str, Any], backbone: Any) -> Any:
        """Nothing, with the encoder's tokenizer."""
        if not options["tokenizer"]:
            return backbone
        from transformers import PreTrainedTokenizerFast

        made = PreTrainedTokenizerFast(tokenizer_object=_tokenizer(Path(options["encoder"]), options["tokenizer"]))
        return replace(backbone, tokenizer=made)

    def begin(self, backbone: Any) -> None:
        """Take the encoder's weights from its folder.

        Raises:
            UsageError: They are not those of a model of these sizes.
        """
        own = getattr(self, self.held_by)
        if own is None:
            return
        from transformers import AutoModel

        folder = Path(str(self.options["encoder"])).expanduser()
        try:
            with progress_only_on_terminals():
                loaded = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
            known = own.state_dict()  # without a pooling layer that is not used, and copies of the embeddings
            own.load_state_dict({name: value for name, value in loaded.state_dict().items() if name in known})
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"The encoder {folder} cannot be loaded: {str(error).splitlines()[0]}") from error


class BertTexts(Pretrained):
    """A direct model that reads texts with BERT, all of which is trained, or as words with vectors of their own.

    Attributes:
        bert: The encoder; None where there is none.
        reader: Makes the sequences of a batch; of the streams alone where BERT reads the text.
        dims: Values a row, by modality, in the order text, acoustic, visual.
    """

    architecture, held_by, needed = BERT, "bert", False

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.bert = None
        if self.options["sizes"] and config.text:
            from transformers import BertConfig, BertModel

            self.bert = BertModel(BertConfig(**self.options["sizes"]), add_pooling_layer=False)
        self.reader = Reader(config, None if self.bert is not None else self.options["words"])
        text = {} if self.bert is None else {"text": int(self.bert.config.hidden_size)}
        self.dims = {**text, **self.reader.dims}

    @classmethod
    def adaptation(cls, config: AdapterConfig) -> str:
        """Words without BERT are learned from scratch."""
        scratch = config.text and not config.options.get("sizes")
        return "; ".join(filter(None, [cls.adapted, WORDS if scratch else ""]))

    def sequences(self, batch: Batch) -> dict[str, Rows]:
        """The sequences, by modality; BERT's last states of [CLS], the text and [SEP]."""
        read: dict[str, Rows] = self.reader(batch)
        if self.bert is None:
            return read
        room = self.bert.config.max_position_embeddings
        ids, mask = framed(batch, [self.options["first"]], self.options["last"], room)
        states = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        lengths = mask.sum(1).cpu()
        return {"text": Rows(states, lengths, lengths > 0), **read}


def framed(
    batch: Batch, before: Sequence[int], last: int, room: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Some tokens, each text as far as there is room, and a last token; and where these are, both (B, L).

    Args:
        batch: With token ids of the encoder's tokenizer.
        before: Before each text.
        last: Behind each text.
        room: Most tokens of all together; None for no limit.
    """
    begin = len(before)
    kept = batch.text_mask[:, : None if room is None else max(0, room - begin - 1)].bool()
    counts = kept.sum(1)
    ids = torch.zeros(len(batch), begin + kept.shape[1] + 1, dtype=torch.int64, device=kept.device)
    ids[:, :begin] = torch.tensor(before, dtype=torch.int64)
    ids[:, begin:-1] = batch.text_ids[:, : kept.shape[1]].masked_fill(~kept, 0)
    ids[torch.arange(len(ids), device=ids.device), begin + counts] = last
    mask = torch.arange(ids.shape[1], device=ids.device)[None] < (begin + counts + 1)[:, None]
    return ids, mask


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is no readable JSON ({error}): copy the encoder's folder again.") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is no configuration of a model: it holds no JSON object.")
    return value


def _tokenizer(folder: Path, text: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise UsageError(f"The tokenizer of the encoder {folder} cannot be read: {error}") from error


def _ends(kind: Architecture, sizes: Mapping[str, Any], tokenizer: Any, folder: Path) -> tuple[int, int]:
    """Ids of the tokens before and behind a text."""
    found: list[Any] = [sizes.get(name) if name.endswith("_id") else tokenizer.token_to_id(name) for name in kind.ends]
    if not all(isinstance(one, int) for one in found):
        what = "configuration" if kind.ends[0].endswith("_id") else "tokenizer"
        raise UsageError(f"The {what} of the encoder {folder} has no {' and '.join(kind.ends)}.")
    return int(found[0]), int(found[1])
