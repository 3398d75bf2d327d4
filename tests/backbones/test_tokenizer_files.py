"""Tokenizer files of strangers: what they must hold, and the merges that they imply."""

from __future__ import annotations

import base64

import pytest

from mse_pipeline.backbones.original import chatglm, qwen
from mse_pipeline.backbones.original.chatglm import build, read_pieces
from mse_pipeline.errors import MseError, UsageError
from tests.backbones.original_checkpoints import GLM_PIECES, QWEN_TOKENS, field, sentencepiece_model


def spell(tokens):
    return b"\n".join(base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens))


def tokens_of(pieces, text):
    return build(pieces).encode(text).tokens


@pytest.fixture
def model(tmp_path):
    def write(content):
        path = tmp_path / "tokenizer.model"
        path.write_bytes(content)
        return path

    return write


def test_ranks_are_read_in_their_order(tmp_path):
    path = tmp_path / "qwen.tiktoken"
    path.write_bytes(spell(QWEN_TOKENS) + b"\n\n")
    assert list(qwen.read_ranks(path)) == QWEN_TOKENS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "lacks some of the 256 single bytes"),
        (b"IQ==", "line 1: a token in base64"),
        (b"!!! 0", "line 1: a token in base64"),
        (b"IQ== x", "line 1: a token in base64"),
        (b"IQ== 1", "line 1: rank 1 should be 0"),
        (b"IQ== 0\nIQ== 1", "line 2: rank 1"),
        (base64.b64encode(b"a" * 2000) + b" 0", "line 1: .*of 1 to 1024 bytes"),
    ],
)
def test_a_damaged_rank_file_is_told_by_line(tmp_path, content, says):
    path = tmp_path / "qwen.tiktoken"
    path.write_bytes(content)
    with pytest.raises(MseError, match=says):
        qwen.read_ranks(path)


def test_a_token_that_its_own_bytes_never_become_has_no_pair():
    alone = {bytes([byte]): byte for byte in range(256)}
    # "abc" is cut into "a" and "bc", which no rank joins; then "abcd" is made of "a" and "bcd".
    ranks = {**alone, b"bc": 256, b"bcd": 257, b"abcd": 258, b"ac": 259}
    assert list(qwen.merges(ranks)) == [(b"b", b"c"), (b"bc", b"d"), (b"a", b"bcd"), (b"a", b"c")]


def test_pieces_are_read_with_their_kinds(model):
    pieces = read_pieces(model(sentencepiece_model(GLM_PIECES)))
    assert pieces.texts[:3] == ("<unk>", "<s>", "</s>")
    assert pieces.texts[259:] == tuple(GLM_PIECES)
    assert pieces.scores[-1] == 1.0 - len(GLM_PIECES)
    assert (pieces.unknown, pieces.kinds[1], pieces.kinds[100], pieces.kinds[-1]) == (0, 3, 6, 1)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the", ["▁the"]),
        ("in the", ["▁", "in", "▁the"]),
        ("", []),
        (" the", ["▁", "▁the"]),
        ("  in", ["▁▁", "▁", "in"]),
        ("\n", ["▁", "<0x0A>"]),
        ("é", ["▁", "<0xC3>", "<0xA9>"]),
        ("<s>", ["▁", "<0x3C>", "<0x73>", "<0x3E>"]),
        ("<0x0A>", ["▁", "<0x3C>", "0", "<0x78>", "0", "<0x41>", "<0x3E>"]),
    ],
)
def test_a_text_is_cut_as_sentencepiece_cuts_it(model, text, tokens):
    pieces = read_pieces(model(sentencepiece_model(GLM_PIECES)))
    assert tokens_of(pieces, text) == tokens
    assert build(pieces).decode(build(pieces).encode(text).ids) == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "BPE"),
        (sentencepiece_model(GLM_PIECES, kind=1), "merges pairs"),
        (sentencepiece_model(GLM_PIECES, dummy_prefix=0), "a space before the text"),
        (sentencepiece_model(GLM_PIECES, remove_spaces=1), "keeps runs of spaces"),
        (sentencepiece_model(GLM_PIECES) + field(3, field(2, b"map")), "rewrites no letters"),
    ],
)
def test_models_of_other_kinds_are_refused(model, content, says):
    with pytest.raises(UsageError, match=says):
        read_pieces(model(content))


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\xff" * 30,
        b"\x0b",
        sentencepiece_model(GLM_PIECES)[:-3],
        field(1, b""),
        field(1, field(1, b"\xff")),
        sentencepiece_model([*GLM_PIECES, "in"]),
        sentencepiece_model(["a" * 2000]),
    ],
)
def test_a_damaged_model_is_told(model, content):
    with pytest.raises(MseError, match="download it again"):
        read_pieces(model(content))


def test_an_order_that_is_not_told_is_refused():
    pieces = chatglm.SentencePieces(("?", "a", "b", "ab", "ba"), (0, 0, 0, -1.0, -1.0), (2, 1, 1, 1, 1), 0)
    with pytest.raises(UsageError, match="same score"):
        build(pieces)


def test_a_piece_of_letters_that_are_none_is_refused():
    pieces = chatglm.SentencePieces(("?", "a", "ab"), (0, 0, -1.0), (2, 1, 1), 0)
    with pytest.raises(UsageError, match="'ab' is made of letters"):
        build(pieces)
