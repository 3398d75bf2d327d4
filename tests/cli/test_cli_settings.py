"""--set, mse recipes, and whose settings a training takes, as a user types them."""

from __future__ import annotations

import json

import pytest

from mse_pipeline import recipe, store
from mse_pipeline.cli.extract import origin_of
from mse_pipeline.cli.train import training_recipe
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.recipe import with_settings
from mse_pipeline.recipe.settings import parse_value
from mse_pipeline.task import Classification

FILE = """version: 1
name: made
corpus: {name: table, options: {table: clips.csv}}
training: {epochs: 4, batch_size: 2, seeds: [1]}
backbones: {tiny: {learning_rate: 0.25}}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A recipe file, and a cache with the dataset that was extracted with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSE_CACHE", raising=False)
    (tmp_path / "made.yaml").write_text(FILE)
    put(tmp_path, "made.yaml")
    return tmp_path


def put(home, target, changes=()):
    """The dataset as `mse extract` registers it, with made features."""
    clips = [
        Clip(id=f"{split}/{n}", split=split, text="it is", label=("sad", "glad")[n])
        for split in Split
        for n in range(2)
    ]
    used = with_settings(recipe.load(target), changes)
    dataset = store.open(home / "cache").create(
        "made",
        clips,
        task=Classification(("sad", "glad")),
        recipe=used.to_dict(),
        source={"corpus": "table", **origin_of(target, changes)},
    )
    one = store.Features([[0.5, 1.0]], [[0.0, 1.0]], [True], ("a", "b"))
    dataset.put("acoustic.made", {clip.id: one for clip in clips})
    return dataset


# Settings and recipes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-8", 1e-8),
        ("010", 10),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("[a, 2]", ["a", 2]),
        ("null", None),
        ('""', ""),
        ("a=b", "a=b"),
    ],
)
def test_a_value_is_read_as_in_a_recipe(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "text", ["", " ", "# x", "[1", "*a", "!!python/name:os.system x", "1\nother: 2", "{a: 1, a: 2}"]
)
def test_a_value_that_no_recipe_has_is_refused(text):
    with pytest.raises(ValueError, match="value"):
        parse_value(text)


@pytest.mark.parametrize(
    ("settings", "get", "expected"),
    [
        (["training.adam_epsilon=1e-8"], lambda r: r.training.adam_epsilon, 1e-8),
        (["training.seeds[1]=7"], lambda r: r.training.seeds[:2], (1111, 7)),
        (["training.seeds.0=7"], lambda r: r.training.seeds[0], 7),
        (["training.epochs=null"], lambda r: r.training.epochs, 30),
        (["media.max_seconds=null"], lambda r: r.media.max_seconds, None),
        (["streams.visual.mtcnn.detect_every=2"], lambda r: r.streams["visual.mtcnn"]["detect_every"], 2),
        (["streams.visual.mtcnn.policy=null"], lambda r: r.streams["visual.mtcnn"], {}),
        (["streams.visual.yunet={}"], lambda r: list(r.streams)[-1], "visual.yunet"),
        (["corpus.options.target=sentiment"], lambda r: r.corpus.options["target"], "sentiment"),
        (["alignment={kind: equal_bins, bins: 5}"], lambda r: r.alignment.bins, 5),
        (["alignment.kind=none", "alignment.step=null"], lambda r: r.alignment.kind, "none"),
        (["training.epochs=2"], lambda r: r.training_for("llama2").epochs, 2),
        (["training.epochs=2", "backbones.llama2.epochs=5"], lambda r: r.training_for("llama2").epochs, 5),
        (["backbones.llama2.epochs=5", "training.epochs=2"], lambda r: r.training_for("llama2").epochs, 5),
        (["backbones.llama2.epochs=null"], lambda r: r.training_for("llama2").epochs, 50),
    ],
)
def test_a_setting_changes_its_place_alone(settings, get, expected):
    assert get(with_settings(recipe.load("meld"), settings)) == expected


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["training.epocs=3"], "training.epocs: unknown key; did you mean epochs"),
        (["trainig.epochs=3"], "trainig: unknown key; did you mean training"),
        (["training.epochs=many"], "training.epochs: must be a valid integer, got 'many'"),
        (["streams.visual.mtcn.policy=x"], "no stream visual.mtcn; did you mean visual.mtcnn"),
        (["training.epochs.x=3"], "training.epochs is 50, which has no keys below it"),
        (["training.seeds[5]=3"], "training.seeds is a list of 5 entries; they are [0] to [4]"),
        (["=3"], "the key is missing"),
        (["training.epochs"], "the equals sign is missing"),
        (["training..epochs=3"], "names with dots between"),
        (["training.epochs="], "null resets"),
        (["training.epochs=3", "training.epochs=4"], "given twice, as training.epochs=3"),
        (["training={epochs: 3}", "training.patience=4"], "training.patience lies within training"),
        (["corpus.name=null"], "corpus.name: is missing"),
    ],
)
def test_a_wrong_setting_is_told(settings, told):
    with pytest.raises(UsageError) as error:
        with_settings(recipe.load("meld"), settings)
    assert told in str(error.value)


def test_all_errors_are_told_at_once_those_of_extractors_and_corpora_too(mse, home):
    wrong = ["training.epocs=3", "=1", "streams.visual.mtcnn.detect_evry=2", "corpus.options.targt=x"]
    told = mse("extract", "meld", *(part for one in wrong for part in ("--set", one)))
    assert told.code == 2
    for words in ("4 errors", "did you mean epochs", "key is missing", "detect_every", "did you mean target"):
        assert words in told.err


# Whose settings a training takes


def run_json(result):
    with open(f"{result.json['run']}/run.json") as file:
        return json.load(file)


def test_a_training_takes_the_settings_of_the_recipe_that_is_named_as_it_is_now(mse, home):
    (home / "made.yaml").write_text(FILE.replace("epochs: 4", "epochs: 1"))
    trained = mse("train", "--recipe", "made.yaml", "--set", "training.adam_epsilon=1e-8", "--batch-size", 3, "--json")
    assert trained.code == 0, trained.err
    told = run_json(trained)
    assert {"epochs": 1, "adam_epsilon": 1e-8, "batch_size": 3, "learning_rate": 0.25}.items() <= (
        told["config"]["training"].items()
    )
    assert told["recipe"]["from"] == "the recipe made.yaml"
    assert told["recipe"]["settings"] == ["training.adam_epsilon=1e-8"]
    assert told["config"]["training"].items() <= told["recipe"]["training"].items()
    assert "Settings of the training: the recipe made.yaml, with --set" in " ".join(trained.err.split())


def test_without_a_recipe_the_recorded_one_holds_and_the_dry_run_says_so(mse, home):
    (home / "made.yaml").write_text(FILE.replace("epochs: 4", "epochs: 1"))
    told = mse("train", "--dry-run", "--json").json
    assert told["recipe"]["training"]["epochs"] == 4
    assert str(home / "made.yaml") in told["recipe"]["from"]


@pytest.mark.parametrize(
    ("target", "changes", "now"),
    [
        ("sample", (), True),
        ("sample", ("streams.visual.mtcnn.detect_every=2",), True),
        ("sample", ("training.epochs=7",), False),
    ],
)
def test_a_dataset_of_the_package_s_recipe_takes_it_as_it_is_now(home, target, changes, now):
    dataset = put(home, target, changes)
    used, origin = training_recipe(dataset, None, ["training.patience=2"])
    assert ("of this version" in origin.source) is now
    assert (used.training.epochs, used.training.patience) == (recipe.load(target).training.epochs if now else 7, 2)


@pytest.mark.parametrize("setting", ["streams.acoustic.made.x=2", "media.max_seconds=3", "alignment={kind: none}"])
def test_settings_of_the_features_are_refused_when_they_are_made(mse, home, setting):
    told = mse("train", "--set", setting, "--set", "training.epocs=2")
    assert told.code == 2
    assert "did you mean epochs" in told.err
    assert ("Extract again" in told.err) or ("no stream acoustic.made" in told.err)


def test_a_recipe_that_differs_in_its_features_is_told(mse, home):
    (home / "made.yaml").write_text(FILE + "alignment: {kind: grid, step: 0.5}\n")
    told = mse("train", "--dry-run", "--recipe", "made.yaml")
    assert "extracted with in alignment; the features stay" in " ".join(told.err.split())


# mse recipes


def test_recipes_are_listed_shown_and_copied(mse, home):
    listed = mse("recipes", "list", "--json").json
    assert [row["name"] for row in listed["recipes"]] == recipe.names()
    assert all(row["summary"] for rows in listed.values() for row in rows)
    assert "# MELD" in mse("recipes", "show", "meld").out
    assert (
        mse("recipes", "show", "meld", "--set", "training.epochs=3", "--json").json["recipe"]["training"]["epochs"] == 3
    )
    assert mse("recipes", "copy", "meld", "mine.yaml").code == 0
    assert recipe.load("mine.yaml") == recipe.load("meld")
    refused = mse("recipes", "copy", "sims", "mine.yaml")
    assert (refused.code, recipe.load("mine.yaml").name) == (2, "meld")
    assert mse("recipes", "copy", "sims", "mine.yaml", "--force").code == 0
    assert recipe.load("mine.yaml").name == "sims"


def test_what_is_shown_with_settings_is_a_recipe_again(mse, home):
    shown = mse("recipes", "show", "meld", "--set", "training.adam_epsilon=1e-8").out
    (home / "again.yaml").write_text(shown)
    assert recipe.load("again.yaml") == with_settings(recipe.load("meld"), ["training.adam_epsilon=1e-8"])


@pytest.mark.parametrize("name", [*recipe.names(), *recipe.feature_sets()])
def test_what_the_package_brings_is_sound(mse, name):
    assert mse("recipes", "check", name, "--json").json["sound"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 1\nname: x\ncorpus: {name: tabel}\ntraining: {epocs: 3}\n", ("2 errors", "line 3", "line 4")),
        ("version: 1\nstreams: {acoustic.egemap: {}}\nalinment: {}\n", ("acoustic.egemaps", "alinment")),
        ("- a\n", ("no mapping",)),
    ],
)
def test_a_check_tells_all_errors_of_a_file(mse, home, text, told):
    (home / "wrong.yaml").write_text(text)
    result = mse("recipes", "check", "wrong.yaml")
    assert result.code == 2
    for words in told:
        assert words in result.err


# --share


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--share", "9/8"), "--share is written I/N, the I-th of N shares"),
        (("--shard", "9/8"), "--shard is now called --share"),
        (("--shard", "1/8", "--share", "1/8"), "give --share alone"),
    ],
)
def test_a_share_has_its_name_and_the_old_one_is_understood(mse, home, options, told):
    result = mse("extract", "meld", *options)
    assert result.code == 2
    assert told in " ".join(result.err.split())
    assert "--shard" not in mse("extract", "--help").out


# Options


def commands(group, path=()):
    """Every command of `mse`, with its words."""
    for name, one in group.commands.items():
        yield from commands(one, (*path, name)) if hasattr(one, "commands") else [((*path, name), one)]


def test_an_option_that_many_commands_have_says_the_same_in_each():
    from typer.main import get_command

    from mse_pipeline.cli.app import app

    shared = {"--json", "--quiet", "--debug", "--cache", "--device", "--decoding", "--encoding", "--media-root"}
    told = {}
    for path, one in commands(get_command(app)):
        for option in one.params:
            for flag in shared & set(option.opts):
                told.setdefault(flag, {}).setdefault(option.help, []).append(" ".join(path))
    assert told.keys() == shared
    assert [flag for flag, texts in told.items() if len(texts) > 1] == []
    assert min(len(paths) for texts in told.values() for paths in texts.values()) > 1


def test_every_command_that_reads_a_recipe_takes_settings():
    from typer.main import get_command

    from mse_pipeline.cli.app import app

    having = {" ".join(path) for path, one in commands(get_command(app)) if any("--set" in o.opts for o in one.params)}
    assert having >= {
        *("extract", "train", "demo", "datasets check", "datasets export"),
        *("recipes show", "recipes check", "backbones show"),
    }


def test_a_clip_table_takes_settings_and_the_dataset_keeps_them(home):
    from mse_pipeline.cli.extract import resolve

    (home / "clips.csv").write_text("id,media\na,a.mp4\n")
    used, _ = resolve("clips.csv", changes=["media.max_seconds=3", "streams.visual.mtcnn.detect_every=2"])
    assert (used.media.max_seconds, used.streams["visual.mtcnn"]) == (3, {"detect_every": 2})
    assert origin_of("clips.csv", ["media.max_seconds=3"]) == {"settings": ["media.max_seconds=3"]}
