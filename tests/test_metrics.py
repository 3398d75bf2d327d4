"""metrics: the reference implementation's numbers, and no number for input that has none."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cosine, jensenshannon
from scipy.stats import entropy

from mse_pipeline import corpora, metrics
from mse_pipeline.task import Classification, Regression

GOLDEN = range(9)


@pytest.mark.parametrize("case", GOLDEN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, list])
def test_equals_the_reference_implementation(shared, case, dtype):
    golden = json.loads((shared / "reference/metrics-golden.json").read_text())
    assert len(golden) == len(GOLDEN)
    row = golden[case]
    convert = list if dtype is list else lambda values: np.array(values, dtype)
    found = metrics.evaluate(row["dataset"], convert(row["predictions"]), convert(row["targets"]))
    assert list(found) == list(row["metrics"])
    assert found == pytest.approx(row["metrics"], abs=1e-6)


def test_mosi_and_sims_are_scored_like_their_successors():
    p, t = [0.3, -1.0, 0.7], [0.2, -0.8, 0.9]
    assert metrics.evaluate("mosi", p, t) == metrics.evaluate("mosei", p, t)
    assert metrics.evaluate("sims", p, t) == metrics.evaluate("simsv2", p, t)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "five"),
    [(0.1, 2), (-0.1, 1), (0.7, 3), (0.4, 3), (-0.4, 1), (-0.7, 0), (0.0, 2), (1.2, 4), (-1.2, 0)],
)
def test_sims_bins_are_right_closed_in_either_precision(dtype, value, five):
    representative = [-1.0, -0.4, 0.0, 0.4, 1.0]
    hits = [metrics.evaluate("simsv2", np.array([value], dtype), [r])["Mult_acc_5"] for r in representative]
    assert hits == [float(i == five) for i in range(5)]


@pytest.mark.parametrize(("target", "weak"), [(0.4, True), (-0.4, True), (0.41, False), (0.0, True), (-0.6, False)])
def test_sims_weak_subset_includes_its_edges(target, weak):
    score = metrics.evaluate("simsv2", np.float32([target]), np.float32([target]))["Mult_acc_2_weak"]
    assert score == 1.0 if weak else math.isnan(score)


@pytest.mark.parametrize(
    ("prediction", "target", "has0", "non0"),
    [(0.0, 1.0, 1, 0), (0.0, -1.0, 0, 1), (-0.0, 1.0, 1, 0), (0.1, 1.0, 1, 1), (-0.1, -1.0, 1, 1)],
)
def test_a_prediction_of_zero_is_positive_in_has0_and_negative_in_non0(prediction, target, has0, non0):
    scores = metrics.evaluate("mosei", [prediction], [target])
    assert (scores["Has0_acc_2"], scores["Non0_acc_2"]) == (has0, non0)


@pytest.mark.parametrize(
    ("prediction", "target", "five", "seven"),
    [
        (0.5, 0.0, 1, 1),
        (1.5, 2.0, 1, 1),
        (2.5, 2.0, 1, 1),
        (3.4, 3.0, 1, 1),
        (2.5, 3.0, 1, 0),
        (-2.6, -2.0, 1, 0),
    ],
)
def test_mosei_classes_are_clipped_then_rounded_half_to_even(prediction, target, five, seven):
    scores = metrics.evaluate("mosei", [prediction], [target])
    assert (scores["Mult_acc_5"], scores["Mult_acc_7"]) == (five, seven)


def test_non0_is_undefined_where_every_target_is_zero():
    scores = metrics.evaluate("mosei", [0.5, -0.5], [0, 0])
    assert math.isnan(scores["Non0_acc_2"])
    assert math.isnan(scores["Non0_F1_score"])


@pytest.mark.parametrize("dataset", ["mosei", "simsv2", "regression", "regression(-3, 3)"])
@pytest.mark.parametrize(("p", "t"), [([0.1, 0.1, 0.1], [1, -1, 0.5]), ([1, -1, 0.5], [0.1, 0.1, 0.1]), ([1], [1])])
def test_correlation_of_constants_is_nan_without_a_warning(dataset, p, t):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metrics.evaluate(dataset, p, t)["Corr"])


def test_classification_agrees_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    t = rng.integers(0, 6, 300)
    p = np.where(rng.random(300) < 0.6, t, rng.integers(0, 7, 300))
    expected = {
        "acc": sk.accuracy_score(t, p),
        "weight_F1": sk.f1_score(t, p, average="weighted"),
        "macro_F1": sk.f1_score(t, p, average="macro"),
        "UAR": sk.recall_score(t, p, average="macro", labels=np.unique(t)),
    }
    assert metrics.evaluate("classification", p, t) == pytest.approx(expected, abs=1e-12)
    assert metrics.evaluate("meld", p, t) == pytest.approx({k: expected[k] for k in ("acc", "weight_F1")})


@pytest.mark.parametrize(("p", "t"), [([1, 1], [2, 2]), ([2, 2], [2, 2]), ([0.5, 1.0, 2.0], [0.4, 1.5, 1.9])])
def test_r2_agrees_with_scikit_learn(p, t):
    sk = pytest.importorskip("sklearn.metrics")
    assert metrics.evaluate("regression", p, t)["R2"] == pytest.approx(sk.r2_score(t, p), abs=1e-6)


def test_class_names_score_like_class_indices():
    names = np.array(["neutral", "joy", "anger"], dtype=object)
    p, t = np.array([0, 1, 2, 1, 0]), np.array([0, 1, 1, 1, 2])
    assert metrics.evaluate("classification", names[p], names[t]) == metrics.evaluate("classification", p, t)
    assert metrics.evaluate("meld", p.astype(float), t) == metrics.evaluate("meld", p, t)


def test_plain_regression_reports_concordance_and_error():
    scores = metrics.evaluate("regression", [2, 3, 4], [1, 2, 3])
    assert scores["MAE"] == scores["RMSE"] == 1
    assert scores["Corr"] == pytest.approx(1)
    assert scores["CCC"] == pytest.approx(2 * (2 / 3) / (2 / 3 + 2 / 3 + 1))
    assert "Has0_acc_2" not in scores


def test_a_range_around_zero_adds_the_signs_and_clips_the_predictions():
    scores = metrics.evaluate("regression(-1, 1)", [5, -5], [1, -1])
    assert scores["MAE"] == 0
    assert scores["Has0_acc_2"] == scores["Non0_F1_score"] == 1
    assert "Has0_acc_2" not in metrics.evaluate("regression(1, 5)", [2], [3])


def test_a_column_vector_is_scored_as_a_vector():
    assert metrics.evaluate("mosei", np.ones((4, 1)), np.ones(4))["MAE"] == 0


@pytest.mark.parametrize(
    ("dataset", "p", "t", "message"),
    [
        ("mosei", [], [], "no prediction"),
        ("meld", [1], [], "no target"),
        ("mosei", [1.0], [1.0, 2.0], "1 predictions cannot be scored against 2 targets"),
        ("meld", [1, 2, 3], [1, 2], "3 predictions"),
        ("mosei", [1.0, math.nan], [1, 2], "prediction in row 1 is not a finite"),
        ("simsv2", [1.0], [math.inf], "target in row 0"),
        ("regression", [1e300], [1], "not a finite"),
        ("mosei", ["1.0"], [1.0], "must be a number"),
        ("mosei", [None], [1.0], "must be a number"),
        ("meld", [math.nan], [1], "class index"),
        ("meld", [0.5], [1], "class index"),
        ("meld", [None], [1], "class index"),
        ("meld", ["joy"], [4], "both class names"),
        ("mosei", np.ones((2, 2)), np.ones((2, 2)), r"shape \(2, 2\)"),
        ("melt", [1], [1], "Did you mean meld"),
        ("imagenet", [1], [1], "there are mosei"),
        ("regression(3, -3)", [1], [1], "lower one first"),
        ("regression(a, 3)", [1], [1], "two finite numbers"),
        ("regression(-1, 1)", [1], [2], "outside the range -1 to 1"),
    ],
)
def test_unusable_input_is_refused_in_a_sentence(dataset, p, t, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(dataset, p, t)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        *((name, ("MAE", False)) for name in ("mosei", "mosi", "simsv2", "sims", "regression", "regression(1, 5)")),
        *((name, ("weight_F1", True)) for name in ("meld", "cherma", "classification")),
    ],
)
def test_the_metric_that_selects_an_epoch(dataset, expected):
    assert metrics.primary(dataset) == expected


def test_primary_refuses_an_unknown_dataset():
    with pytest.raises(ValueError, match="No metrics are known"):
        metrics.primary("imagenet")


@pytest.mark.parametrize("corpus", sorted(corpora.built_in() - {"table"}))
def test_a_corpus_has_its_metrics_for_what_its_papers_predict(corpus):
    assert metrics.kind(corpus, corpora.facts(corpus).predicts) == corpus


@pytest.mark.parametrize(
    ("dataset", "task", "expected"),
    [
        ("meld", Classification(("a", "b")), "classification"),
        ("meld", Classification(("positive", "neutral", "negative")), "classification"),
        ("meld", Classification(tuple(sorted(corpora.facts("meld").predicts.classes))), "meld"),
        ("mosi", Regression(0, 10), "regression(0.0, 10.0)"),
        ("sims", Regression(1, 5), "regression(1.0, 5.0)"),
        ("sims", Regression(1, 5, metrics="sims"), "sims"),
        ("mine", Classification(("a", "b")), "classification"),
        ("simsv2", Regression(-1, 1), "simsv2"),
        ("meld", Regression(0, 1), "regression(0.0, 1.0)"),
        ("mosei", Classification(("a", "b")), "classification"),
    ],
)
def test_kind_follows_the_task_when_the_name_says_otherwise(dataset, task, expected):
    assert metrics.kind(dataset, task) == expected


def test_class_scores_keep_the_given_order_and_count_absent_classes():
    scores = metrics.class_scores([2, 2, 0], [2, 0, 0], classes=[2, 1, 0])
    assert scores.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert scores.support.tolist() == [1, 0, 2]
    assert scores.f1.tolist() == pytest.approx([2 / 3, 0, 2 / 3])
    assert scores.recall.tolist() == [1, 0, 0.5]


def test_class_scores_refuse_a_label_outside_the_classes():
    with pytest.raises(ValueError, match="'rage' is none of the classes joy"):
        metrics.class_scores(["rage"], ["joy"], classes=["joy"])


def test_all_neutral_on_meld_is_named_with_its_known_figures():
    counts = [1256, 281, 50, 208, 402, 68, 345]  # MELD's test split
    targets = np.repeat(np.arange(7), counts)
    (sentence,) = metrics.alarms("meld", np.zeros(2610, int), targets, classes=["neutral"])
    assert "All 2610 predictions are the class neutral" in sentence
    assert "acc 48.12, weight_F1 31.27" in sentence


@pytest.mark.parametrize(
    ("dataset", "p", "t", "expected"),
    [
        ("meld", [0, 1, 2], [0, 1, 2], []),
        ("meld", [1, 0, 0, 0], [0, 0, 0, 1], ["no better than that of always answering 0"]),
        ("meld", [0, 0], [0, 0], []),
        ("classification", ["joy", "joy"], ["joy", "fear"], ["class joy"]),
        ("mosei", [1.0, 1.0, 1.0], [1, 2, -1], ["All 3 predictions are 1: the model has collapsed"]),
        ("mosei", [3, -3, 3], [-1, 1, -1], ["no better than that of always answering -1"]),
        ("mosei", [0, 0, 2, -1], [0.3, -0.2, 2, -1], ["50.00 % of the predictions are exactly 0", "Has0"]),
        ("simsv2", [0, 0, 1, -1], [0.2, -0.2, 1, -1], ["count them as negative"]),
        ("regression(1, 5)", [1, 5, 3], [1, 5, 3], []),
        ("regression", [0, 0, 1, 2, 3], [0.1, -0.1, 1, 2, 3], ["40.00 %", "could not be read"]),
        ("mosei", [1, 1], [1, 1], []),
    ],
)
def test_alarms_name_a_collapse_and_are_silent_otherwise(dataset, p, t, expected):
    found = " ".join(metrics.alarms(dataset, p, t))
    assert bool(found) == bool(expected)
    for part in expected:
        assert part in found


@pytest.mark.parametrize(
    ("dataset", "p", "t", "train", "told"),
    [
        ("meld", [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1], "0, the largest class of the train split (64.29)"),
        ("meld", [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0], None),  # the test split's own largest class is no rival
        ("meld", [1, 0, 0, 0], [0, 0, 0, 1], None, "0, the largest class of the test split itself, as the train"),
        ("meld", [1, 0, 0, 0], [0, 0, 0, 1], [], "as the train split is not known"),
        ("classification", ["b", "a"], ["a", "b"], ["longer", "a", "a"], "a, the largest class of the train split"),
        ("classification", ["b", "a"], ["a", "b"], ["longer", "longer"], "longer, the largest class of the train"),
        ("mosei", [3, -3, 3], [-1, 1, -1], [2, 0, 0], "0, the median of the train split (1.0000)"),
        ("mosei", [3, -3, 3], [-1, 1, -1], None, "-1, the median of the test split itself"),
    ],
)
def test_the_answer_to_beat_is_that_of_the_train_split_where_it_is_known(dataset, p, t, train, told):
    found = " ".join(metrics.alarms(dataset, p, t, split="test", train=train))
    assert (told is None) == ("no better" not in found)
    if told is not None:
        assert told in found
        assert " on the test split is no better" in found


# Calibration


def test_the_expected_calibration_error_is_that_of_its_definition():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(500, 4)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = draw.integers(0, 4, 500)
    predictions = probabilities.argmax(1)
    confidence, right = probabilities.max(1), predictions == targets
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = metrics.class_calibration(predictions, probabilities, targets)
    assert found == {"ECE": pytest.approx(expected, abs=1e-6)}


@pytest.mark.parametrize(
    ("probabilities", "predictions", "targets", "ece"),
    [
        ([[1.0, 0.0]] * 4, [0] * 4, [0] * 4, 0.0),
        ([[1.0, 0.0]] * 4, [0] * 4, [1] * 4, 1.0),
        ([[0.5, 0.5]] * 4, [0, 1, 0, 1], [0, 1, 1, 0], 0.0),
        ([[0.6, 0.4]] * 5, [0] * 5, [0, 0, 0, 1, 1], 0.0),
        ([[0.6, 0.4]] * 5, [1] * 5, [0] * 5, 0.4),  # decoded otherwise: the predicted one's probability counts
        ([[1.0000001, 0.0]], [0], [0], 0.0),  # as float32 rounds
    ],
)
def test_calibration_errors_by_hand(probabilities, predictions, targets, ece):
    assert metrics.class_calibration(predictions, probabilities, targets)["ECE"] == pytest.approx(ece, abs=1e-6)


def test_the_central_interval_of_numbers_covers_what_it_says():
    values = np.arange(-30, 31) / 10
    shape = np.exp(-0.5 * (values / 0.8) ** 2)
    shape /= shape.sum()
    draw = np.random.default_rng(0)
    targets = draw.choice(len(values), 4000, p=shape)
    found = metrics.number_calibration(values, [shape.tolist()] * 4000, targets)
    assert found["coverage_80"] == pytest.approx(0.82, abs=0.03)
    assert found["width_80"] == pytest.approx(2 * 1.2816 * 0.8, abs=0.15)
    narrow = metrics.number_calibration(values, np.eye(61)[targets - targets], targets)
    assert narrow["width_80"] == 0.0
    assert narrow["coverage_80"] < 0.1


@pytest.mark.parametrize("probabilities", [[], [[1.2, -0.2]], [0.5, 0.5], [[float("nan"), 0.5]]])
def test_what_is_no_probability_is_refused(probabilities):
    with pytest.raises(ValueError, match="robabilit"):
        metrics.class_calibration([0], probabilities, [0])


# Label distributions


def test_distances_of_distributions_are_those_of_scipy():
    draw = np.random.default_rng(0)
    given, predicted = draw.dirichlet([0.4] * 5, 60), draw.dirichlet([1.0] * 5, 60)
    given[:20, 1:] = 0.0  # clips on which all annotators agree
    given /= given.sum(1, keepdims=True)
    found = metrics.distribution_distances(predicted, given)
    expected = {
        "KL": np.mean([entropy(p, q) for p, q in zip(given, predicted, strict=True)]),
        "JSD": np.mean([jensenshannon(p, q) ** 2 for p, q in zip(given, predicted, strict=True)]),
        "cosine": np.mean([1 - cosine(p, q) for p, q in zip(given, predicted, strict=True)]),
    }
    assert found == pytest.approx({**expected, "distributions": 60}, abs=1e-6)


@pytest.mark.parametrize(
    ("predicted", "given", "expected"),
    [
        ([[0.5, 0.5]], [[0.5, 0.5]], (0.0, 0.0, 1.0)),
        ([[0.5, 0.5]], [[1.0, 0.0]], (math.log(2), 0.215762, 0.5**0.5)),
        ([[0.0, 1.0]], [[1.0, 0.0]], (12 * math.log(10), math.log(2), 0.0)),  # the least probability is 1e-12
    ],
)
def test_distances_of_distributions_by_hand(predicted, given, expected):
    found = metrics.distribution_distances(predicted, given)
    assert (found["KL"], found["JSD"], found["cosine"]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rows", [[], [[1.2, -0.2]], [[float("nan"), 0.5]]])
def test_distances_of_what_is_no_distribution_are_refused(rows):
    with pytest.raises(ValueError, match="robabilit"):
        metrics.distribution_distances([[0.5, 0.5]], rows)
