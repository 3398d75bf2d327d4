"""One door to all corpora: names, options, errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mse_pipeline import corpora, recipe
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Corpus, compare_counts, enumerate_some
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification


def test_every_corpus_says_in_a_line_what_it_is():
    for name in corpora.available():
        assert len(corpora.summary(name)) > 20


def test_unknown_corpus_is_told_with_the_nearest():
    with pytest.raises(UsageError, match=r"no corpus 'meldd'; did you mean meld\? The corpora are .*meld, .*table"):
        corpora.read("meldd", ".")


def test_wrong_options_are_all_told(tmp_path):
    with pytest.raises(UsageError) as error:
        corpora.read("meld", tmp_path, {"targt": "emotion", "official": "yes"})
    assert "targt: unknown key; did you mean target?" in str(error.value)
    assert "official: must be a valid boolean, got 'yes'" in str(error.value)


@pytest.mark.parametrize(
    ("section", "findings"),
    [
        ({"name": "meld"}, []),
        ({"name": "meld", "options": {"target": "sentiment", "official": False}}, []),
        (
            {"name": "tabel"},
            [
                (
                    "corpus.name",
                    f"there is no corpus tabel; did you mean table?; there are {', '.join(corpora.available())}",
                )
            ],
        ),
        (
            {"name": "meld", "options": {"target": "joy"}},
            [("corpus.options.target", "must be 'emotion' or 'sentiment', got 'joy'")],
        ),
        (
            {"name": "table", "options": {"splits": {"a": "dev"}}},
            [("corpus.options.splits.a", "must be 'train', 'valid' or 'test', got 'dev'")],
        ),
    ],
)
def test_check_finds_what_is_wrong_with_a_recipes_corpus(section, findings):
    assert list(corpora.check({"corpus": section})) == findings


def test_check_leaves_a_refused_section_alone():
    assert list(corpora.check({})) == []


@pytest.mark.parametrize("name", ["meld", "sample", "table"])
def test_shipped_recipes_pass_the_check(name):
    assert recipe.load(name, checks=[corpora.check]).corpus.name in corpora.available()


def test_recipe_errors_and_corpus_errors_are_told_together(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nname: mine\ncorpus:\n  name: meld\n  options: {targt: emotion}\nmedai: {}\n")
    with pytest.raises(UsageError) as error:
        recipe.load(file, checks=[corpora.check])
    assert "line 5, corpus.options.targt: unknown key; did you mean target?" in str(error.value)
    assert "line 6, medai: unknown key; did you mean media?" in str(error.value)


def test_counts_of_a_corpus(tmp_path):
    clips = (Clip(id="a", split=Split.TRAIN, media="a.mp4"), Clip(id="b", split=Split.TEST))
    corpus = Corpus(name="x", root=tmp_path, task=Classification(("a", "b")), clips=clips)
    assert corpus.counts() == {Split.TRAIN: 1, Split.VALID: 0, Split.TEST: 1}
    assert corpus.with_media() == 1


def test_counts_that_are_right_are_not_told():
    assert list(compare_counts("clips", {"train": 2}, {"train": 2, "test": 1})) == []


def test_enumeration_is_cut():
    assert enumerate_some(range(3)) == "0, 1, 2"
    assert enumerate_some(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


def test_importing_the_package_is_cheap():
    heavy = "numpy pydantic pyarrow torch yaml"
    code = f"import sys, mse_pipeline.corpora; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
