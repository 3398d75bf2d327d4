"""pipelines/features/*.yaml: each fits every recipe, says what it reproduces, and has the dimensions it tells of."""

from __future__ import annotations

import pytest

from mse_pipeline import extractors, recipe
from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.registry import dims

SETS = recipe.feature_sets()


@pytest.mark.parametrize("name", SETS)
def test_each_set_names_extractors_that_there_are_with_options_that_they_have(name: str) -> None:
    features = recipe.load_features(name)
    used = {options.get("extractor", stream) for stream, options in features.streams.items()}
    absent = used - set(extractors.available())
    if absent:
        pytest.skip(f"needs the extractors {', '.join(sorted(absent))}")
    assert extractors.check(features.streams) == []


@pytest.mark.parametrize("name", SETS)
def test_each_set_fits_a_recipe_and_changes_nothing_else_of_it(name: str) -> None:
    before, features = recipe.load("meld"), recipe.load_features(name)
    after = recipe.with_features(before, features)
    assert after.streams == features.streams
    assert after.alignment.kind == features.alignment["kind"]
    kept = {"streams", "alignment"}
    assert {k: v for k, v in after.to_dict().items() if k not in kept} == {
        k: v for k, v in before.to_dict().items() if k not in kept
    }


@pytest.mark.parametrize("name", SETS)
def test_each_set_begins_with_its_command_and_says_what_it_reproduces(name: str) -> None:
    features = recipe.load_features(name)
    command, _, rest = features.comment.partition("\n\n")
    assert command.startswith("mse extract ")
    assert command.endswith(f" --features {name}")
    assert command.split()[2] in recipe.names()
    assert "reproduce" in rest
    assert 20 < len(features.summary) < 140


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mosei-like", (74, 28)), ("simsv2-like", (25, 28)), ("meld-like", (64, 512)), ("egemaps-functionals", (88, 28))],
)
def test_dimensions_are_those_that_the_comments_tell_of(name: str, counts: tuple[int, int]) -> None:
    assert tuple(dims(recipe.load_features(name).streams).values()) == counts


def test_a_file_of_one_s_own_is_read_like_a_set(tmp_path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("# Mine: it reproduces nothing.\nstreams:\n  acoustic.egemaps:\nversion: 1\n", encoding="utf-8")
    features = recipe.load_features(own)
    assert (features.name, features.summary) == ("own", "Mine")
    assert features.streams == {"acoustic.egemaps": {}}
    assert features.alignment == {"kind": "none"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\nstreams: {}\n", "has no streams"),
        ("streams: {acoustic.egemaps: {}}\n", "version: is missing"),
        ("version: 1\nname: mine\nstreams: {acoustic.egemaps: {}}\n", "line 2, name: has no place here"),
        ("version: 1\nstreams: {egemaps: {}}\n", "streams.egemaps"),
        ("version: 1\nstreams: {acoustic.egemaps: {}}\nalignment: {kind: gird}\n", "alignment.kind: must be one of"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, text: str, words: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        recipe.load_features(own)
    assert words in str(caught.value)


def test_a_set_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match=r"Recipe file nowhere/own\.yaml does not exist"):
        recipe.load_features("nowhere/own.yaml")
    for name in ("nothing", "../meld", ""):
        with pytest.raises(UsageError, match="There is no feature set"):
            recipe.load_features(name)
