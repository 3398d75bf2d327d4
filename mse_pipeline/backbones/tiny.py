"""The built-in backbone `tiny`: a small LLaMA made on the spot, for the demo, for tests and for trying things out.

Its weights are random and never trained. All that an adapter needs of a backbone, to learn a handful of classes, is
that the answer follows the pseudo tokens, and a random transformer does so if its weights are well scaled: an adapter
takes fewer steps with it than with small language models trained on stories, and building it takes no time, needs no
cache, and gives the same model to everyone. The scale matters: with transformers' own initial scale, or with embeddings
of unit variance, an adapter takes several times the steps.

One thing is planted: the output embedding of ``.`` looks for digits, those of digits look for ``.``, for signs and for
the last word of a question. So answers have the form of numbers from the start, and an adapter spends its steps on
which number. For regression it is still no more than a way to try the path: digits have no order for it, so that what
an adapter learns hardly reaches unseen clips. `tiny` knows nothing of language: text tells it next to nothing, and no
result with it says anything about a dataset.

The weights come from PCG64's raw integers by exact arithmetic, hence are the same bits on every machine.

The text that the tokenizer of `tiny` is trained on: the prompts of the method and a page of everyday talk.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

PROMPTS = """
<Multimodal></Multimodal>
<多模态></多模态>
Please predict the sentiment intensity of the above multimodal content in the range [-3.0, +3.0]. Assistant: The sentiment is
请对上述多模态内容的情感强度进行预测，范围在[-1.0, +1.0]之间。响应: 情感为
Please recognize the emotion of the above multimodal content from the target set <neutral:0, surprise:1, fear:2, sadness:3, joy:4, disgust:5, anger:6>. Assistant: The emotion is
请选择适用于上述多模态内容的情绪标签：<愤怒:0, 厌恶:1, 恐惧:2, 高兴:3, 平静:4, 悲伤:5, 惊奇:6>。助手: 情绪为
""".strip()  # noqa: E501 - the prompts are single lines
"""Tags and task prompts as arXiv 2502.12478 words them, so that each takes few tokens."""

TALK = """
The bus comes at eight, and I will be there before it leaves.
I don't know what you want me to say about that. You said you would call, and you didn't!
Okay, okay. Let me think about it for a minute. What time is it now?
She looked at the door, then at me, and then she said nothing at all.
We can't all go. Someone has to stay here with the children until they are asleep.
Oh, really? That's great, I'm so happy for you! When did he tell you?
No, no, no. I was going to do this for him, not for them, and you know it.
There is some bread on the table, and there is more of it in the kitchen if you are hungry.
It was just one of those things that people say when they have to say something.
Why are you looking at me like that? I think we should talk about what happened today.
He has been gone for over a week, and how could anyone have known where he went?
Well, it's a good book, but I'd like to see what other people think of it first.
Hey, come on, we're going to be late. Get your coat and let's go.
You're right, I'm sorry. I never should have asked her to come with us to your house.
Thank you very much. It would make me feel better if you could wait with me.
The first man who came back from there was not the same, and his friends were afraid.
My mother used to sing this every night, and my brother still knows all of the words.
Please put the chairs by the window, because there will be more of us than I thought.
I really want to believe that, but something is wrong here, and they won't tell us what.
今天的天气很好，我们一起出去走走吧。
你为什么不告诉我？我真的不知道他说了什么。
没有关系，这个问题我们可以明天再想。
妈妈说她要来看我们，可是现在还没有到。
我觉得这个电影很有意思，你们也应该去看看。
他是一个好人，大家都喜欢和他在一起。
""".strip()
"""Everyday talk, written for this purpose."""


VERSION = "1"
"""Changes whenever the weights or the tokenizer change, since results with another `tiny` do not compare."""
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPECIAL_TOKENS = (PAD, BOS, EOS)
VOCABULARY = 640
HIDDEN_SIZE = 128
LAYERS = 2
HEADS = 4
MAX_LENGTH = 2048
SEED = 2502_12478
EMBEDDING_SCALE = 0.2
"""Standard deviation of the embeddings: with smaller ones the logits cannot become certain of an answer, with much
larger ones an adapter learns slowly."""
NUMBER_SCALE = 1.0
"""Weight of what is planted for the form of numbers."""


def build_tiny() -> tuple[Any, Any]:
    """Make model and tokenizer, on the CPU in float32; torch's global random state stays as it was.

    Returns:
        A `LlamaForCausalLM` and a fast tokenizer, the same ones on every call.
    """
    tokenizer = build_tokenizer()
    return build_model(tokenizer), tokenizer


def build_tokenizer() -> Any:
    """Byte-level BPE trained on the page in `tiny_text`; every digit is a token, and no text is unknown to it.

    Examples:
        >>> build_tokenizer().tokenize("The sentiment is-1.5")
        ['The', 'Ġsentiment', 'Ġis', '-', '1', '.', '5']
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # The prompts are in every sequence, so their words count for more than those of the talk.
    tokenizer.train_from_iterator([*PROMPTS.splitlines() * 5, *TALK.splitlines()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: Any) -> Any:
    """A LLaMA of two layers for a tokenizer, with the weights that this module's docstring describes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=2 * HIDDEN_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        attn_implementation="sdpa",
    )
    # The constructor draws weights of its own, which must not move the random numbers of the caller.
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config)
    draws = np.random.PCG64(SEED)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.ndim == 2 and name != "lm_head.weight":
                scale = EMBEDDING_SCALE if "embed_tokens" in name else 1 / math.sqrt(weight.shape[1])
                weight.copy_(_uniform(draws, tuple(weight.shape), scale))
        model.lm_head.weight.copy_(_output_embeddings(model.get_input_embeddings().weight, tokenizer))
    return model


def _uniform(draws: np.random.PCG64, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """Uniform numbers of mean zero and standard deviation `scale`, from 24 bits each: no rounding on the way."""
    bits = draws.random_raw(math.prod(shape)) >> np.uint64(40)
    unit = (bits.astype(np.float64) + 0.5) / 2**23 - 1.0
    return torch.from_numpy((unit * (scale * math.sqrt(3))).astype(np.float32).reshape(shape))


def _output_embeddings(embeddings: torch.Tensor, tokenizer: Any) -> torch.Tensor:
    """The input embeddings, with those that can be parts of a number drawn towards what comes before them."""
    digits = tokenizer.convert_tokens_to_ids([str(digit) for digit in range(10)])
    point, minus, plus = tokenizer.convert_tokens_to_ids([".", "-", "+"])
    asked = [tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in ("The sentiment is", "情感为")]
    before: dict[int, list[int]] = {point: digits, minus: asked, plus: asked}
    before.update({digit: [point, minus, plus, *asked] for digit in digits})
    output = embeddings.clone()
    for token, earlier in before.items():
        for other in earlier:
            output[token] += NUMBER_SCALE * embeddings[other]
    return output
