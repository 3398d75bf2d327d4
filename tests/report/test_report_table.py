"""Means over seeds, their deviation, the best of our runs, and the scores a class."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest

from mse_pipeline import report
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.report.table import Column, build, labels
from mse_pipeline.store.cache import open_cache
from mse_pipeline.task import Classification


def scores(*values, key="weight_F1"):
    return [{"acc": 0.5, key: value} for value in values]


def regression(mae, corr=0.5):
    return {"MAE": mae, "RMSE": mae, "Corr": corr}


def test_cells_are_mean_and_sample_deviation_over_seeds(folders):
    folders.add(seeds=scores(0.2, 0.4, 0.9))
    (table,) = build([folders.root]).tables
    cell = table.rows[0].cells["weight_F1"]
    assert cell.mean == pytest.approx(0.5)
    assert cell.sd == pytest.approx(statistics.stdev([0.2, 0.4, 0.9]))


def test_one_seed_has_no_deviation(folders):
    folders.add(seeds=scores(0.2))
    assert build(folders.root).tables[0].rows[0].cells["weight_F1"].sd is None


def test_unfinished_seeds_are_mentioned_and_not_averaged(folders):
    folder = folders.add(seeds=scores(0.2, 0.4))
    folders.seed(folder, 3, {"acc": 1.0, "weight_F1": 1.0}, status="running")
    report = build([folders.root])
    row = report.tables[0].rows[0]
    assert row.cells["weight_F1"].mean == pytest.approx(0.3)
    assert report.notes == ("a, seed-3: not finished, its status is 'running'; not averaged.",)


def test_what_is_missing_for_one_reason_is_told_once(folders):
    for name in ("a", "b"):
        folder = folders.add(name, seeds=scores(0.2))
        for seed in (2, 3):
            folders.seed(folder, seed, {"acc": 1.0, "weight_F1": 1.0}, status="running")
    begun = folders.add("c", seeds=scores(0.1))
    for seed in (4, 5):
        folders.seed(begun, seed, {"acc": 1.0, "weight_F1": 1.0}, config_digest="99999999")
    assert build([folders.root]).notes == (
        "4 seeds of 2 runs (a, b): not finished, its status is 'running'; not averaged.",
        "c, seed-4, seed-5: trained on other data, or with another configuration, than run.json tells; not averaged.",
    )


def test_higher_shares_and_lower_errors_are_best(folders):
    for name, mae, corr in (("a", 0.6, 0.9), ("b", 0.5, 0.7)):
        folders.add(name, dataset="mine", metrics="regression", seeds=[regression(mae, corr)])
    (table,) = build([folders.root]).tables
    assert [row.run.name for row in table.rows] == ["b", "a"]  # the lower MAE first
    best = {row.run.name: {key for key, cell in row.cells.items() if cell.best} for row in table.rows}
    assert best == {"a": {"Corr"}, "b": {"MAE", "RMSE"}}


def test_ablations_of_one_backbone_stand_together_below_its_whole_adapter(folders):
    variants = ["text-only", "without text", "without tgm+msf", "without msf", "without visual", "adapter"]
    for place, variant in enumerate(variants):
        folders.add(f"a{place}", variant=variant, seeds=scores(0.1 * (len(variants) - place)))
    folders.add("second", seeds=scores(0.05))
    folders.add("other", backbone="other", seeds=scores(0.55))
    folders.add("best", backbone="best", seeds=scores(0.9))
    (table,) = build([folders.root]).tables
    assert [(row.run.backbone, row.run.variant) for row in table.rows] == [
        ("best", "adapter"),
        ("tiny", "adapter"),
        ("tiny", "adapter"),
        ("tiny", "without visual"),
        ("tiny", "without msf"),
        ("tiny", "without text"),
        ("tiny", "without tgm+msf"),
        ("tiny", "text-only"),
        ("other", "adapter"),
    ]
    assert table.rows[2].run.name == "second"


def test_runs_that_print_alike_are_all_best_and_a_single_run_is_not_marked(folders):
    folders.add("a", seeds=scores(0.40001))
    assert not build([folders.root]).tables[0].rows[0].cells["weight_F1"].best
    folders.add("b", seeds=scores(0.40002))
    folders.add("c", seeds=scores(0.3))
    (table,) = build([folders.root]).tables
    assert [row.cells["weight_F1"].best for row in table.rows] == [True, True, False]


def test_a_metric_undefined_for_a_seed_is_undefined_for_the_run_and_never_best(folders):
    folders.add("a", dataset="mine", metrics="regression", seeds=[regression(0.5, None), regression(0.5, 0.9)])
    folders.add("b", dataset="mine", metrics="regression", seeds=[regression(0.6, 0.1)])
    rows = {row.run.name: row for row in build([folders.root]).tables[0].rows}
    assert math.isnan(rows["a"].cells["Corr"].mean)
    assert not rows["a"].cells["Corr"].best
    assert rows["b"].cells["Corr"].best


def test_nothing_is_best_where_nothing_is_defined(folders):
    for name in "ab":
        folders.add(name, dataset="mine", metrics="regression", seeds=[regression(0.5, None)])
    assert not any(row.cells["Corr"].best for row in build([folders.root]).tables[0].rows)


def test_a_metric_missing_in_a_seed_is_not_averaged_over_the_others(folders):
    folders.add(seeds=[{"acc": 0.5, "weight_F1": 0.5}, {"acc": 0.7}])
    assert set(build([folders.root]).tables[0].rows[0].cells) == {"acc"}


def test_each_dataset_and_sort_of_metrics_has_its_table(folders):
    folders.add("a", seeds=scores(0.5))
    folders.add("b", dataset="sample", seeds=scores(0.5))
    folders.add("c", dataset="meld", metrics="classification", seeds=scores(0.5))
    found = [(table.dataset, table.kind, bool(table.published)) for table in build([folders.root]).tables]
    assert found == [("meld", "classification", False), ("meld", "meld", True), ("sample", "meld", False)]


def test_published_rows_are_own_seeds_first_then_best_first(folders):
    folders.add(seeds=scores(0.5))
    rows = build([folders.root]).tables[0].published
    assert [row.own for row in rows[:4]] == [True, True, True, False]
    values = [row.mean["weight_F1"] for row in rows if not row.own]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "tiny · text + egemaps + mtcnn"),
        ({"variant": "text-only"}, "tiny · text"),
        ({"variant": "text-only", "streams": {}}, "tiny · text"),
        ({"variant": "text-only", "streams": {"acoustic": None, "visual": None}}, "tiny · text"),
        ({"streams": {"acoustic": "acoustic.egemaps", "visual": None}}, "tiny · text + egemaps"),
        ({"backbone": "../models/stories/"}, "stories · text + egemaps + mtcnn"),
        ({"backbone": "Qwen/Qwen2.5-1.5B", "variant": "text-only"}, "Qwen2.5-1.5B · text"),
        ({"variant": "adapter", "streams": {}}, "tiny · adapter"),
        (
            {"variant": "without visual", "streams": {"acoustic": "acoustic.egemaps"}},
            "tiny · text + egemaps (without visual)",
        ),
        ({"variant": "without tgm"}, "tiny · text + egemaps + mtcnn (without tgm)"),
        ({"variant": "without msf+text"}, "tiny · egemaps + mtcnn (without msf+text)"),
        ({"variant": "text-only without msf", "streams": {}}, "tiny · text-only without msf"),
    ],
)
def test_a_row_says_what_its_model_reads(folders, changes, expected):
    folders.add(seeds=scores(0.5), **changes)
    assert build([folders.root]).tables[0].rows[0].reads == expected


@pytest.mark.parametrize(
    ("key", "error", "value", "printed"),
    [
        ("acc", False, 0.66234, "66.23"),
        ("MAE", True, 0.51472, "0.5147"),
        ("Corr", False, math.nan, "nan"),
        ("R2", False, -0.118, "-11.80"),
    ],
)
def test_numbers_are_printed_as_the_field_does(key, error, value, printed):
    assert Column(key, error).number(value) == printed


def test_equal_alarms_of_seeds_become_one_note(folders):
    folder = folders.add()
    for seed in (1, 2):
        folders.seed(folder, seed, {"acc": 0.5, "weight_F1": 0.3}, alarms=["All the same."])
    assert build([folders.root]).notes == ("a, seed 1, 2: All the same.",)


def test_no_run_at_all_is_an_error_that_says_what_was_found(tmp_path):
    with pytest.raises(UsageError, match=r"`mse train` makes one.*There is no folder"):
        build([tmp_path / "runs"])


def test_runs_without_a_finished_seed_are_pending(folders):
    folders.add()
    (table,) = build([folders.root]).tables
    assert (table.rows, len(table.pending)) == ((), 1)


class TestClasses:
    def table(self, folders):
        report = build([folders.root])
        return report.tables[0].rows[0].classes, report.warnings

    def test_f1_is_averaged_and_counts_are_summed_over_seeds_of_the_test_split(self, folders):
        folder = folders.add(seeds=scores(0.5, 0.5), classes=["neutral", "joy", "anger"])
        folders.predictions(folder / "seed-1", ["joy", "joy", "neutral"], ["joy", "joy", "neutral"])
        folders.predictions(folder / "seed-2", ["joy", "joy", "neutral"], ["joy", "neutral", "neutral"])
        classes, warnings = self.table(folders)
        assert warnings == ()
        assert classes.classes == ("neutral", "joy", "anger")
        assert classes.support == (1, 2, 0)
        assert classes.confusion == ((2, 0, 0), (1, 3, 0), (0, 0, 0))
        assert classes.f1 == pytest.approx((1 / 2 + 1 / 3, 1 / 2 + 1 / 3, 0))
        assert classes.f1_sd == pytest.approx((statistics.stdev([1, 2 / 3]),) * 2 + (0,))
        assert classes.seeds == (1, 2)

    def test_indices_stand_for_the_names_of_the_run(self, folders):
        folder = folders.add(seeds=scores(0.5))
        folders.predictions(folder / "seed-1", [6, 0], [0, 0])
        classes, _ = self.table(folders)
        assert (classes.classes[0], classes.classes[6], classes.support[0]) == ("neutral", "anger", 1)
        assert classes.confusion[6][0] == 1

    @pytest.mark.parametrize("names", [["neutral"], None, "neutral"])
    def test_labels_without_names_are_sorted_and_one_seed_has_no_deviation(self, folders, names):
        folder = folders.add(seeds=scores(0.5), classes=names)
        folders.predictions(folder / "seed-1", [6, 0], [0, 0])
        classes, _ = self.table(folders)
        assert (classes.classes, classes.f1_sd) == (("0", "6"), None)

    def test_missing_predictions_are_told(self, folders):
        folders.add(seeds=scores(0.5))
        classes, warnings = self.table(folders)
        assert classes is None
        assert warnings == ("a, seed 1: there is no predictions.parquet, so F1 a class is left out.",)

    def test_a_broken_file_is_told_and_the_other_seeds_count(self, folders):
        folder = folders.add(seeds=scores(0.5, 0.5))
        folders.predictions(folder / "seed-1", ["joy"], ["joy"])
        (folder / "seed-2" / "predictions.parquet").write_bytes(b"PAR1 this is none")
        classes, warnings = self.table(folders)
        assert classes.seeds == (1,)
        assert "a, seed 2: predictions.parquet cannot be read" in warnings[0]

    def test_a_file_without_the_columns_or_the_test_split_is_told(self, folders):
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = folders.add(seeds=scores(0.5, 0.5))
        folders.predictions(folder / "seed-1", ["joy"], ["joy"], split="valid")
        pq.write_table(pa.table({"clip": ["a"]}), folder / "seed-2" / "predictions.parquet")
        classes, warnings = self.table(folders)
        assert classes is None
        assert "holds no predictions of the test split" in warnings[0]
        assert "lacks" in warnings[1]

    @pytest.mark.parametrize("bad", [[None, "joy"], [["joy"], ["anger"]], [0.5, 1.0]])
    def test_labels_of_no_class_are_told(self, folders, bad):
        folder = folders.add(seeds=scores(0.5))
        folders.predictions(folder / "seed-1", bad, bad)
        classes, warnings = self.table(folders)
        assert classes is None
        assert "classes cannot be compared" in warnings[0]

    def test_regression_has_no_classes(self, folders):
        folders.add(dataset="mine", metrics="regression", seeds=[regression(0.5)])
        assert self.table(folders) == (None, ())


def test_results_on_valid_are_shown_where_there_is_no_test_split(folders):
    folder = folders.add()
    for seed, right in ((1, 0.5), (2, 0.7)):
        place = folders.seed(folder, seed, {}, valid={"acc": right}, calibration={"valid": {"ECE": 0.1}})
        folders.predictions(place, [0, 1], [0, 0], split="valid")
    (table,) = report.build([folders.root]).tables
    assert table.rows == ()
    assert "take --split valid" in table.pending[0].unfinished["seed-1"]
    (table,) = report.build([folders.root], "valid").tables
    (row,) = table.rows
    assert (row.cells["acc"].mean, row.calibration["ECE"].mean) == (pytest.approx(0.6), pytest.approx(0.1))
    assert row.classes.confusion[1][0] == 2
    assert table.published == ()
    assert report.to_json(report.build([folders.root], "valid"))["tables"][0]["runs"][0]["valid"]["acc"]["mean"] == 0.6
    assert "Valid split" in report.to_markdown(report.build([folders.root], "valid"))


def test_a_report_of_valid_tells_nothing_of_the_test_split(folders):
    folder = folders.add(seeds=[])
    of_test = ["All 24 predictions are the class joy: the model has collapsed. This answer alone gives acc 20.83."]
    for seed, predictions in ((1, [0, 1, 1]), (2, [0, 0, 0])):
        place = folders.seed(folder, seed, {"acc": 0.2}, valid={"acc": 0.5}, alarms=of_test)
        folders.predictions(place, [0, 1, 0], predictions, split="valid")
    assert "24 predictions" in str(report.to_json(report.build([folders.root])))
    built = report.build([folders.root], "valid")
    assert "24 predictions" not in str(report.to_json(built)) + report.to_markdown(built)
    (note,) = (note for note in built.notes if "collapsed" in note)
    assert "seed 2: All 3 predictions are the class" in note
    assert built.tables[0].rows[0].collapsed == (2,)


def test_labels_of_hostile_or_long_names_are_the_same_as_long_as_nobody_changes_them(folders, tmp_path):
    names = ["a" * 100, "b\x1b[31m"]
    place = folders.seed(
        folders.add(seeds=[], dataset="mine", classes=names, metrics="classification"), 1, {"acc": 0.5}
    )
    folders.predictions(place, [0, 1], [0, 0], clips=["x", "y"])
    clips = [Clip(id=clip, split=Split.TEST, label=name) for clip, name in zip("xy", names, strict=True)]
    cache = open_cache(tmp_path / "cache")
    dataset = cache.create("mine", clips, task=Classification(tuple(names)))
    assert report.build([folders.root], where="label != 'none'", cache=cache).warnings == ()
    dataset.set_clips([replace(clips[0], label=names[1]), clips[1]])
    (warning,) = report.build([folders.root], where="label != 'none'", cache=cache).warnings
    assert "1 clips of its test split have another label" in warning


def test_a_split_that_no_report_is_of_is_refused(folders):
    folders.add(seeds=[{"acc": 0.5}])
    with pytest.raises(UsageError, match="valid or test, not train"):
        report.build([folders.root], "train")


def test_rows_tell_how_the_backbone_is_asked_where_they_differ(folders):
    for name, prompt in (
        ("a", {"task": "The emotion is", "context": 0}),
        ("b", {"task": "The emotion is", "context": 3}),
    ):
        folders.add(name, seeds=[{"acc": 0.5}], config={"prompt": prompt, "training": {"epochs": 1}})
    folders.add("c", seeds=[{"acc": 0.5}], config={"training": {"epochs": 1}, "prompt": {"task": "The emotion is"}})
    (table,) = report.build([folders.root]).tables
    told = {row.run.name: dict(row.settings) for row in table.rows}
    assert told == {"a": {"prompt.context": 0}, "b": {"prompt.context": 3}, "c": {"prompt.context": 0}}


def test_rows_tell_the_settings_in_which_they_differ(folders):
    for name, training in (
        ("a", {"epochs": 3, "encoder": "attentive", "learning_rate": 0.1, "seeds": [1]}),
        ("b", {"epochs": 3, "learning_rate": 0.1, "seeds": [1, 2], "later": "<i>\x1b"}),
    ):
        folders.add(name, seeds=[{"acc": 0.5}], config={"training": training})
    (table,) = report.build([folders.root]).tables
    told = {row.run.name: row.settings for row in table.rows}
    assert told == {"a": {"encoder": "attentive", "later": None}, "b": {"encoder": "lstm", "later": "<i>\x1b"}}
    assert [row.reads.partition(" · ")[2].partition(" · ")[2] for row in table.rows] == [
        "encoder attentive, later None",
        "encoder lstm, later <i>\ufffd",
    ]


def test_rows_of_a_model_tell_the_options_in_which_they_differ(folders):
    for name, options in (("a", {"bias": "none", "tokens": 2}), ("b", {"tokens": 2})):
        training = {"model": "text-only", "model_options": options}
        folders.add(name, seeds=[{"acc": 0.5}], model="text-only", config={"training": training})
    (table,) = report.build([folders.root]).tables
    assert {row.run.name: row.describe_settings() for row in table.rows} == {
        "a": "bias none",
        "b": "bias default",
    }
    assert sorted(labels(table.rows)) == ["text-only · bias default", "text-only · bias none"]
    folders.add("c", seeds=[{"acc": 0.5}], model="text-only", backbone="other", config={"training": training})
    (table,) = report.build([folders.root]).tables
    assert all(name.startswith("text-only · ") and "bias" in name for name in labels(table.rows))
    assert sum("other" in name for name in labels(table.rows)) == 1
