"""text.transformers equals the plain call of transformers, token by token, and knows where in the text each stands."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.registry import create
from tests.closeness import assert_close
from tests.extractors.small_encoders import TEXT, WIDTH, save_text

NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("text")
    return {kind: save_text(home / kind, kind) for kind in TEXT}


def clip(text: str) -> Clip:
    return Clip(id="train/1", split=Split.TRAIN, text=text)


def extractor(folder: Path, **options: Any) -> Any:
    return create("text.transformers", {"model": str(folder), "overlap": 4, **options})


def plain_call(folder: Path, ids: list[int]) -> Any:
    with torch.no_grad():
        return plain_model(folder)[1](input_ids=torch.tensor([ids]), output_hidden_states=True)


@functools.cache
def plain_model(folder: Path) -> tuple[Any, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, transformers.AutoModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("kind", TEXT)
def test_a_text_equals_the_plain_call_without_special_tokens(folders: dict[str, Path], kind: str) -> None:
    text = "I am very unhappy."
    features = extractor(folders[kind])(clip(text), NOWHERE)
    tokenizer, model = plain_model(folders[kind])
    inputs = tokenizer(text, return_tensors="pt", return_special_tokens_mask=True)
    special = inputs.pop("special_tokens_mask")[0].bool()
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state[0][~special].numpy()
    assert special.any()
    assert_close(features.values, expected)
    assert features.values.shape[1] == WIDTH
    assert features.notes["tokens"] == tokenizer.convert_ids_to_tokens(inputs["input_ids"][0][~special])
    assert features.valid.all()
    assert np.isnan(features.intervals).all()
    assert features.notes["model"] == kind


@pytest.mark.parametrize(
    ("options", "layers"), [({"layer": 0}, [0]), ({"layer": -2}, [-2]), ({"last": 3}, [-3, -2, -1])]
)
@pytest.mark.parametrize("kind", TEXT)
def test_layers_are_hidden_states(folders: dict[str, Path], kind: str, options: dict, layers: list[int]) -> None:
    features = extractor(folders[kind], **options)(clip("it is good"), NOWHERE)
    inputs = plain_model(folders[kind])[0]("it is good", return_special_tokens_mask=True)
    states = plain_call(folders[kind], inputs["input_ids"]).hidden_states
    kept = [k for k, special in enumerate(inputs["special_tokens_mask"]) if not special]
    expected = torch.stack([states[layer] for layer in layers]).mean(0)[0][kept].numpy()
    assert_close(features.values, expected)


def test_spans_are_the_tokens_places_in_the_text(folders: dict[str, Path]) -> None:
    text = "I am  UNHAPPY, 我很高兴！"
    notes = extractor(folders["bert"])(clip(text), NOWHERE).notes
    assert notes["tokens"] == ["i", "am", "un", "##happy", ",", "我", "很", "高", "兴", "！"]
    read = [text[start:stop] for start, stop in notes["spans"]]
    assert read == ["I", "am", "UN", "HAPPY", ",", "我", "很", "高", "兴", "！"]


def test_the_bytes_of_one_character_share_its_place(folders: dict[str, Path]) -> None:
    notes = extractor(folders["llama"])(clip("a 我"), NOWHERE).notes
    assert notes["spans"] == [[0, 1], [1, 2], [2, 3], [2, 3], [2, 3]]


def test_blanks_that_a_tokenizer_counts_to_a_word_are_no_part_of_its_place(shared: Path) -> None:
    text = "Once upon  a time"
    notes = create("text.transformers", {"model": str(shared / "models" / "stories260K")})(clip(text), NOWHERE).notes
    read = [text[start:stop] for start, stop in notes["spans"]]
    assert all(one == one.strip() for one in read if one.strip())
    assert "".join(one.strip() for one in read) == "Onceuponatime"


@pytest.mark.parametrize("model", ["stories260K", "babyllama"])
def test_a_real_language_models_hidden_states_equal_the_plain_call(shared: Path, model: str) -> None:
    folder, text = shared / "models" / model, "Once upon a time, there was a little girl. She was very happy."
    features = create("text.transformers", {"model": str(folder)})(clip(text), NOWHERE)
    inputs = plain_model(folder)[0](text, return_special_tokens_mask=True)
    kept = [k for k, special in enumerate(inputs["special_tokens_mask"]) if not special]
    expected = plain_call(folder, inputs["input_ids"]).last_hidden_state[0][kept].numpy()
    assert_close(features.values, expected)


# --- long texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("words", [1, 2, 3, 9])
@pytest.mark.parametrize("batch", [1, 3])
def test_long_texts_are_encoded_in_windows_that_equal_the_plain_call(
    folders: dict[str, Path], kind: str, words: int, batch: int
) -> None:
    text = " ".join(["so it is good"] * words)
    one = extractor(folders[kind], max_tokens=20, overlap=6, batch=batch)
    features = one(clip(text), NOWHERE)
    tokenizer = plain_model(folders[kind])[0]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert features.notes["tokens"] == tokenizer.convert_ids_to_tokens(ids)
    begin, end = {"bert": ([2], [3]), "roberta": ([256], [258]), "llama": ([256], [])}[kind]
    room = 20 - len(begin) - len(end)
    starts = [0]
    while starts[-1] + room < len(ids):
        starts.append(starts[-1] + room - 6)
    for row in range(len(ids)):
        depth = {}
        for start in starts:
            stop = min(start + room, len(ids))
            if start <= row < stop:
                left, right = row - start if start else 10**6, stop - 1 - row if stop < len(ids) else 10**6
                depth[start] = min(left, right)
        deepest = [start for start in depth if depth[start] == max(depth.values())]
        expected = [encoded(folders[kind], begin, tuple(ids[s : s + room]), end)[row - s] for s in deepest]
        assert any(np.allclose(features.values[row], one, atol=1e-5) for one in expected), row


def encoded(folder: Path, begin: list[int], ids: tuple[int, ...], end: list[int]) -> np.ndarray:
    states = _states(folder, (*begin, *ids, *end))
    return states[len(begin) : len(begin) + len(ids)]


@functools.cache
def _states(folder: Path, ids: tuple[int, ...]) -> np.ndarray:
    return plain_call(folder, list(ids)).last_hidden_state[0].numpy()


@pytest.mark.parametrize(("kind", "length"), [("bert", 24), ("roberta", 32), ("llama", 64)])
def test_a_window_has_no_more_tokens_than_the_model_has_positions(
    folders: dict[str, Path], kind: str, length: int
) -> None:
    one = extractor(folders[kind])
    one.load()
    assert one.length == length
    assert len(one(clip("so it is good " * 40), NOWHERE)) >= 160


def test_windows_that_share_all_their_tokens_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="takes 22 tokens of text at once, and `overlap` asks for 22"):
        extractor(folders["bert"], overlap=22).load()


# --- borders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_a_clip_without_text_is_told(folders: dict[str, Path], kind: str, text: str) -> None:
    with pytest.raises(ClipError, match="train/1 has no text") as caught:
        extractor(folders[kind])(clip(text), NOWHERE)
    assert caught.value.code == "no_text"


def test_a_text_in_which_the_tokenizer_finds_nothing_is_told(folders: dict[str, Path]) -> None:
    with pytest.raises(ClipError, match="holds no token") as caught:
        extractor(folders["bert"])(clip("\x00\x01"), NOWHERE)
    assert caught.value.code == "no_text"


def test_special_tokens_written_in_a_text_do_not_shift_the_rows(folders: dict[str, Path]) -> None:
    text = "so [SEP] it is"
    notes = extractor(folders["bert"])(clip(text), NOWHERE).notes
    assert [text[start:stop] for start, stop in notes["spans"]] == ["so", "[SEP]", "it", "is"]


def test_names_come_from_the_configuration(folders: dict[str, Path]) -> None:
    one = extractor(folders["roberta"])
    assert one.names[:2] == ("roberta_0000", "roberta_0001")
    assert one.step is None
    assert one.units == ("",) * WIDTH


def test_bfloat16_is_near_to_float32(folders: dict[str, Path]) -> None:
    full = extractor(folders["llama"])(clip("it is good"), NOWHERE).values
    half = extractor(folders["llama"], precision="bfloat16")(clip("it is good"), NOWHERE).values
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - full) / np.linalg.norm(full) < 0.1
