"""The published numbers equal the seeds that their authors published."""

from __future__ import annotations

import csv
import statistics

import pytest

from mse_pipeline import metrics
from mse_pipeline.report.published import published

SEED_FILES = [
    ("mosei", "Qwen-1.8B", "qwen-1.8b/mosei-regression-30.csv", slice(None)),
    ("mosei", "ChatGLM3-6B", "chatglm3-6b/1mosei-regression-30.csv", slice(None)),
    ("mosei", "LLaMA2-7B", "llama2-7b/mosei-regression-30.csv", slice(5, 10)),
    ("simsv2", "Qwen-1.8B", "qwen-1.8b/simsv2-regression-30.csv", slice(1, None)),  # seed 1111 stands there twice
    ("simsv2", "ChatGLM3-6B", "chatglm3-6b/1simsv2-regression-80.csv", slice(5)),
    ("simsv2", "LLaMA2-7B", "llama2-7b/simsv2-regression-40.csv", slice(None)),
    ("meld", "Qwen-1.8B", "qwen-1.8b/meld-classification-50.csv", slice(None)),
    ("meld", "ChatGLM3-6B", "chatglm3-6b/1meld-classification-90.csv", slice(None)),
    ("meld", "LLaMA2-7B", "llama2-7b/meld-classification-30.csv", slice(-5, None)),
    ("cherma", "Qwen-1.8B", "qwen-1.8b/cherma-classification-30.csv", slice(None)),
    ("cherma", "ChatGLM3-6B", "chatglm3-6b/1cherma-classification-30.csv", slice(None)),
    ("cherma", "LLaMA2-7B", "llama2-7b/cherma-classification-30.csv", slice(5)),
]
DATASETS = ("mosei", "simsv2", "meld", "cherma")


@pytest.mark.parametrize(("dataset", "backbone", "file", "rows"), SEED_FILES)
def test_the_methods_own_rows_are_mean_and_sample_sd_of_its_seeds(shared, dataset, backbone, file, rows):
    with (shared / "reference/authors-seeds" / file).open() as handle:
        seeds = list(csv.DictReader(handle))[rows]
    assert sorted(row["Seed"] for row in seeds) == ["1111", "2222", "3333", "4444", "5555"]
    (row,) = (row for row in published(dataset) if row.system == f"MSE-Adapter, {backbone}")
    assert row.seeds == 5
    assert set(row.mean) == set(row.sd) == set(seeds[0]) - {"Model", "Seed"}
    for name in row.mean:
        values = [float(seed[name]) / 100 for seed in seeds]
        assert row.mean[name] == pytest.approx(statistics.mean(values), abs=5.1e-5)
        assert row.sd[name] == pytest.approx(statistics.stdev(values), abs=5.1e-5)


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_use_the_keys_of_the_metrics_and_name_a_source(dataset):
    known = set(metrics.evaluate(dataset, [0, 1], [0, 1]))
    rows = published(dataset)
    assert [row.own for row in rows[:4]] == [True, True, True, False]
    assert len({(row.system, row.source) for row in rows}) == len(rows)
    for row in rows:
        assert set(row.mean) <= known
        assert row.mean
        assert all(0 < value < 1 for value in row.mean.values())
        assert row.source
        assert row.citation
        assert row.url is None or row.url.startswith("https://")


def test_errors_stay_in_label_units_and_shares_become_fractions():
    row = published("mosei")[1]
    assert row.system == "MSE-Adapter, ChatGLM3-6B"
    assert (row.mean["Has0_acc_2"], row.mean["MAE"], row.sd["MAE"]) == (0.8691, 0.5147, 0.01)


@pytest.mark.parametrize("dataset", ["sample", "mosi", "", "my_table"])
def test_other_datasets_have_no_published_rows(dataset):
    assert published(dataset) == ()
