"""Recipes: what they may say, and how their errors are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mse_pipeline import recipe
from mse_pipeline.errors import UsageError
from mse_pipeline.recipe import GridAlignment, NoAlignment, Recipe, Training, reading
from mse_pipeline.recipe.problems import place_name
from mse_pipeline.recipe.reading import MAX_BYTES, MAX_DEPTH, parse
from mse_pipeline.recipe.schema import FIRST_SETTINGS
from mse_pipeline.task import Classification, Regression

ALIGNMENTS = "'none', 'grid', 'words', 'equal_bins'"
HEAD = "version: 1\nname: mine\ncorpus: {name: table}\n"


@pytest.fixture
def load(tmp_path):
    def load(text: str | bytes, **options) -> Recipe:
        file = tmp_path / "mine.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return recipe.load(file, **options)

    return load


@pytest.fixture
def errors(load):
    """Load a text that has errors -> the lines that tell them."""

    def errors(text: str | bytes, **options) -> list[str]:
        with pytest.raises(UsageError) as error:
            load(text, **options)
        return [line.strip() for line in str(error.value).splitlines()[1:]]

    return errors


# --- shipped recipes --------------------------------------------------------------------------------------------------


def test_shipped_recipes_are_listed_and_load():
    assert {"meld", "sample", "table"} <= set(recipe.names())
    for name in recipe.names():
        assert recipe.load(name).name == name


def test_shipped_recipes_begin_with_the_command_that_runs_them():
    for name in recipe.names():
        assert (reading.recipes_folder() / f"{name}.yaml").read_text(encoding="utf-8").startswith("# mse ")


@pytest.mark.parametrize(
    ("backbone", "rate", "batch", "epochs", "tokens", "widths"),
    [
        ("qwen", 5e-4, 16, 50, 2, (32, 16)),
        ("Qwen/Qwen-1_8B", 5e-4, 16, 50, 2, (32, 16)),
        ("chatglm3-6b", 5e-5, 8, 90, 4, (64, 32)),
        ("/models/Llama-2-7b-hf/", 5e-4, 6, 30, 2, (32, 16)),
    ],
)
def test_meld_holds_the_papers_settings(backbone, rate, batch, epochs, tokens, widths):
    training = recipe.load("meld").training_for(backbone)
    assert (training.learning_rate, training.batch_size, training.epochs) == (rate, batch, epochs)
    assert (training.pseudo_tokens, (training.acoustic_hidden, training.visual_hidden)) == (tokens, widths)
    assert training.seeds == (1111, 2222, 3333, 4444, 5555)
    assert (training.adam_epsilon, training.warm_up, training.patience) == (1e-4, 0.1, 8)


def test_melds_prompt_is_one_line_with_single_spaces():
    prompt = recipe.load("meld").prompt.task
    assert prompt == (
        "Please recognize the emotion of the above multimodal content from the target set <neutral:0, surprise:1, "
        "fear:2, sadness:3, joy:4, disgust:5, anger:6>. Assistant: The emotion is"
    )


def test_recipes_inside_the_package_come_before_a_folder_beside_it(tmp_path, monkeypatch):
    module = tmp_path / "mse_pipeline" / "recipe" / "reading.py"
    for folder in ("pipelines", "mse_pipeline/pipelines", "mse_pipeline/recipe"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(reading, "__file__", str(module))
    assert reading.recipes_folder() == tmp_path / "mse_pipeline" / "pipelines"
    (tmp_path / "mse_pipeline" / "pipelines").rmdir()
    assert reading.recipes_folder() == tmp_path / "pipelines"


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("medl", r"no recipe medl; did you mean meld\? .*: .*meld, .*table"),
        ("zzzzz", r"no recipe zzzzz\. Recipes that come"),
        ("none/mine.yaml", "file none/mine.yaml does not exist"),
        ("../meld", "is no recipe: give a name"),
        ("", "is no recipe: give a name"),
        ("meld\n", "is no recipe: give a name"),
    ],
)
def test_a_recipe_that_is_not_there_is_told(name, says):
    with pytest.raises(UsageError, match=says):
        recipe.load(name)


def test_a_file_of_another_suffix_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text(HEAD)
    with pytest.raises(UsageError, match=r"ends in \.yaml or \.yml"):
        recipe.load("mine")


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        recipe.load(tmp_path / "x.yaml")


# --- content ----------------------------------------------------------------------------------------------------------


def test_defaults_fill_what_is_left_out(load):
    mine = load(HEAD)
    assert mine.media.max_seconds == 30
    assert (mine.alignment, mine.task, mine.streams) == (NoAlignment(), None, {})
    assert (mine.prompt.language, mine.prompt.task) == ("en", None)
    assert mine.training_for("tiny") == Training()


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("task: {kind: classification, classes: [neutral, no, 平静]}", Classification(("neutral", "no", "平静"))),
        ("task: {kind: regression, low: -3, high: 3.0}", Regression(-3.0, 3.0)),
        ("task: null", None),
    ],
)
def test_tasks(load, text, task):
    assert load(HEAD + text).task == task


def test_alignment_on_a_grid(load):
    assert load(HEAD + "alignment: {kind: grid, step: 0.1}").alignment == GridAlignment(kind="grid", step=0.1)


def test_streams_keep_their_options_and_none_are_needed(load):
    mine = load(HEAD + "streams:\n  acoustic.egemaps:\n  visual.mtcnn: {rate: 5}\n")
    assert mine.streams == {"acoustic.egemaps": {}, "visual.mtcnn": {"rate": 5}}


def test_sections_may_be_empty(load):
    mine = load("version: 1\nname: mine\ncorpus:\n  name: table\n  options:\nmedia:\ntraining:\n")
    assert mine.digest() == load(HEAD).digest()


def test_a_backbones_settings_change_only_what_they_name(load):
    mine = load(HEAD + "training: {epochs: 7, dropout: 0.2}\nbackbones: {qwen: {epochs: 9}, qwen2.5: {batch_size: 4}}")
    assert mine.training_for("llama") == Training(epochs=7, dropout=0.2)
    assert mine.training_for("Qwen-1_8B") == Training(epochs=9, dropout=0.2)
    assert mine.training_for("Qwen/Qwen2.5-7B") == Training(epochs=7, dropout=0.2, batch_size=4)


def test_a_recipe_survives_being_written_out(load):
    mine = load(HEAD + "task: {kind: regression, low: -1, high: 1}\nbackbones: {tiny: {epochs: 2}}\n")
    again = Recipe.model_validate(mine.to_dict())
    assert again.digest() == mine.digest()
    assert again.training_for("tiny") == mine.training_for("tiny")
    assert mine.to_dict()["backbones"] == {"tiny": {"epochs": 2}}
    assert mine.to_dict()["task"] == {"kind": "regression", "low": -1.0, "high": 1.0}


def test_a_setting_that_is_off_is_not_written_so_that_old_digests_stay(load):
    assert "defined_share" not in load(HEAD).to_dict()["training"]
    on = load(HEAD + "training: {defined_share: true}")
    assert on.to_dict()["training"]["defined_share"] is True
    assert Recipe.model_validate(on.to_dict()) == on


def test_the_digest_tells_recipes_apart_by_what_they_say_not_how(load):
    assert load(HEAD).digest() == load(HEAD + "# a comment\nmedia: {max_seconds: 30}\n").digest()
    assert load(HEAD).digest() != load(HEAD + "media: {max_seconds: 31}\n").digest()
    assert re.fullmatch("[0-9a-f]{64}", load(HEAD).digest())


def test_nothing_changes_after_reading(load):
    with pytest.raises(ValueError, match="frozen"):
        load(HEAD).name = "other"


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {learning_rat: 1}", "line 4, training.learning_rat: unknown key; did you mean learning_rate?"),
        ("trainign: {}", "line 4, trainign: unknown key; did you mean training?"),
        ("corpus2: 1", "line 4, corpus2: unknown key; did you mean corpus?"),
        ("training: {epochs: true}", "line 4, training.epochs: must be a valid integer, got True"),
        ("training: {epochs: 1.5}", "line 4, training.epochs: must be a valid integer, got 1.5"),
        ("training: {epochs: 0}", "line 4, training.epochs: must be greater than or equal to 1, got 0"),
        ("training: {learning_rate: fast}", "line 4, training.learning_rate: must be a valid number, got 'fast'"),
        ("training: {seeds: [1, x]}", "line 4, training.seeds[1]: must be a valid integer, got 'x'"),
        (
            "training: {seeds: [1, 1]}",
            "line 4, training.seeds: the same seed is there twice; each seed is one training",
        ),
        (
            "training: {seeds: []}",
            "line 4, training.seeds: at least one seed is needed",
        ),
        ("training: 3", "line 4, training: must be a mapping, got 3"),
        ("backbones: {tiny: {epoch: 3}}", "line 4, backbones.tiny.epoch: unknown key; did you mean epochs?"),
        ("backbones: {tiny: {dropout: null}}", "line 4, backbones.tiny.dropout: must be a valid number, got None"),
        ("alignment: {kind: gird}", f"line 4, alignment.kind: must be one of {ALIGNMENTS}, got 'gird'"),
        ("alignment: {step: 1}", f"line 4, alignment.kind: is missing; it must be one of {ALIGNMENTS}"),
        (
            "alignment: {kind: words, stream: text.ctc}",
            "line 4, alignment: its stream text.ctc is none of this recipe's; there are none",
        ),
        (
            "streams: {text.ctc: {}}\nalignment: {kind: words, stream: text.ctc, subtokens: m, silence: keep}",
            "line 5, alignment: silence has no sub-tokens: leave out subtokens, or say silence: drop",
        ),
        ("alignment: {kind: grid}", "line 4, alignment.step: is missing"),
        ("alignment: {kind: none, stpe: 1}", "line 4, alignment.stpe: unknown key; the known ones are kind"),
        ("alignment: {kind: grid, stpe: 1, step: 1}", "line 4, alignment.stpe: unknown key; did you mean step?"),
        ("task: {kind: regression, low: 1, high: 1}", "line 4, task: low must be below high, got 1 and 1"),
        ("task: {kind: classification, classes: [a, a]}", "line 4, task.classes: class 'a' is there twice"),
        ("task: {kind: classification, classes: [a, 1]}", "line 4, task.classes[1]: must be a valid string, got 1"),
        (
            "task: {kind: classification, classes: [a, '']}",
            "line 4, task.classes: class 1 ('') must be a name without blanks around it",
        ),
        ("task: {kind: classification, classes: [a]}", "line 4, task.classes: at least two classes are needed, got 1"),
        ("task: {classes: [a, b]}", "line 4, task.kind: is missing; it must be one of 'classification', 'regression'"),
        ("prompt: {language: fr}", "line 4, prompt.language: must be 'en' or 'zh', got 'fr'"),
        ("media: {max_seconds: -1}", "line 4, media.max_seconds: must be greater than 0, got -1"),
        ("media: {max_seconds: 1e999}", "line 4, media.max_seconds: must be a finite number, got inf"),
        ("streams: [a]", "line 4, streams: must be a mapping, got a list of 1"),
        ("streams: {acoustic.egemaps: 3}", "line 4, streams.acoustic.egemaps: must be a mapping, got 3"),
        ("? [a]\n: 3", "line 4, ?: the key in line 4 must be a text; put it in quotes"),
        ("1: 3", "line 4, 1: the key in line 4 must be a text; put it in quotes"),
        ("media: {}\nmedia: {}", "line 4, media: given twice, in lines 4 and 5; keep one"),
        (
            "prompt: {task: " + "x" * 80 + ", language: " + "x" * 80 + "}",
            f"line 4, prompt.language: must be 'en' or 'zh', got '{'x' * 59}...",
        ),
    ],
)
def test_each_error_has_its_place_and_its_mend(errors, text, told):
    assert errors(HEAD + text) == [told]


@pytest.mark.parametrize("name", ["a/b", "../x", ".hidden", "", "x y", "a" * 101, "a\n"])
def test_names_that_are_no_folder_names_are_refused(errors, name):
    (told,) = errors(f"version: 1\nname: {name!r}\ncorpus: {{name: table}}\n".replace("'a\\n'", '"a\\n"'))
    assert told.startswith("line 2, name: must match the pattern")


@pytest.mark.parametrize("name", ["egemaps", "Acoustic.egemaps", "acoustic.egemaps.x", "acoustic/../x"])
def test_stream_names_are_a_modality_and_a_name(errors, name):
    (told,) = errors(HEAD + f"streams: {{{name}: {{}}}}")
    assert told.startswith(f"line 4, streams.{name}: must match the pattern")


def test_all_errors_are_told_at_once_in_the_order_of_the_file(errors):
    told = errors("version: 2\nnam: x\ntraining:\n  epocs: 3\n  dropout: 2\ncorpus: {}\n")
    assert told == [
        "name: is missing",
        "line 1, version: must be 1, got 2",
        "line 2, nam: unknown key; did you mean name?",
        "line 4, training.epocs: unknown key; did you mean epochs?",
        "line 5, training.dropout: must be less than 1, got 2",
        "line 6, corpus.name: is missing",
    ]


def test_checks_see_what_is_sound_and_their_findings_stand_in_line(errors):
    seen = {}

    def check(data):
        seen.update(data)
        yield "streams.acoustic.egemaps.hopp", "unknown key; did you mean hop?"
        yield "nowhere", "is odd"

    told = errors(HEAD + "streams:\n  acoustic.egemaps:\n    hopp: 3\nmedia: 7\n", checks=[check])
    assert told == [
        "nowhere: is odd",
        "line 6, streams.acoustic.egemaps.hopp: unknown key; did you mean hop?",
        "line 7, media: must be a mapping, got 7",
    ]
    assert set(seen) == {"version", "name", "corpus", "streams"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "is no mapping"),
        (b"just text", "is no mapping"),
        (b"name: [1, 2\n", "line 2 cannot be read"),
        (b"a: b: c\n", "line 1 cannot be read: mapping values are not allowed here"),
        (b"name: \xff\n", "is not UTF-8"),
        (b"a: \x07\n", "cannot be read as YAML"),
        (b"a: &x [1]\nb: *x\n", r"line 2 cannot be read: aliases \(\*name\) are not allowed"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1 cannot be read: could not determine a constructor"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, f"more than {MAX_DEPTH} levels of nesting"),
        (b"a: " + b"x" * MAX_BYTES, "at most 262,144"),
        (b"a: 1\n---\nb: 2\n", "cannot be read: but found another document"),
    ],
)
def test_hostile_or_broken_yaml_is_refused(load, text, says):
    with pytest.raises(UsageError, match=says) as error:
        load(text)
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("5.0e-4", 5e-4),
        ("-1.", -1.0),
        (".5", 0.5),
        ("010", 10),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("nan", "nan"),
    ],
)
def test_scalars_read_as_people_mean_them(written, value):
    data, lines, problems = parse(f"a:\n  b: {written}\n".encode(), "x.yaml")
    assert data["a"]["b"] == value
    assert type(data["a"]["b"]) is type(value)
    assert (lines["a", "b"], problems) == (2, [])


def test_a_byte_order_mark_is_no_error(load):
    assert load(b"\xef\xbb\xbf" + HEAD.encode()).name == "mine"


def test_places_are_written_as_users_write_them():
    assert place_name(("a", "b", 0, "c")) == "a.b[0].c"


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({}, set()),
        ({"row_dropout": 0.0, "average": 0.0, "encoder": "lstm"}, set()),
        ({"learning_rate": "auto"}, set()),
        ({"average": 0.9, "time_mask": 0.1}, {"average", "time_mask"}),
        ({"model": "mine"}, {"model", "model_options"}),
        ({"model_options": {"width": 3}}, {"model", "model_options"}),
    ],
)
def test_a_setting_that_came_later_is_written_only_where_it_says_something(given, more):
    written = Training(**given).to_dict()
    assert written.keys() == FIRST_SETTINGS | more
    assert Training.model_validate(written) == Training(**given)
