"""The published numbers equal the seeds that their authors published."""

from __future__ import annotations

import csv
import json
import statistics
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources

import pytest

from mse_pipeline import metrics
from mse_pipeline.report.published import published

STORED = json.loads(resources.files("mse_pipeline.report").joinpath("published.json").read_text("utf-8"))["rows"]
DATASETS = {name: name for name in ("mosei", "mosi", "simsv2", "sims", "meld", "cherma")} | {
    "iemocap": "classification"
}
"""Each with its metrics."""


def rounded(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


@pytest.mark.parametrize(
    "row", [row for row in STORED if "file" in row], ids=lambda row: f"{row['dataset']}, {row['backbone']}"
)
def test_the_authors_rows_are_mean_and_sample_sd_of_their_seeds_to_the_digit(shared, row):
    first, last = row["rows"]
    with (shared / "reference/authors-seeds" / row["file"]).open() as handle:
        seeds = list(csv.DictReader(handle))[first - 1 : last]
    assert len({seed["Seed"] for seed in seeds}) == len(seeds) == row["seeds"]
    assert set(row["metrics"]) == set(seeds[0]) - {"Model", "Seed"}
    for name, printed in row["metrics"].items():
        # Their files have errors times 100, like all else.
        unit, digits = (100, 4) if name == "MAE" else (1, 2)
        values = [Decimal(seed[name]) / unit for seed in seeds]
        told = [rounded(sum(values) / len(values), digits)]
        told += [rounded(statistics.stdev(values), digits)] if len(values) > 1 else []
        assert [Decimal(str(value)) for value in (printed if len(told) > 1 else [printed])] == told, name


HEADS = {"Acc2": "Mult_acc_2", "F1": "F1_score", "Acc2_weak": "Mult_acc_2_weak", "R2": "R_squre"}
HEADS |= {"Has0 Acc2": "Has0_acc_2", "Has0 F1": "Has0_F1_score", "Non0 Acc2": "Non0_acc_2", "Non0 F1": "Non0_F1_score"}
HEADS |= {f"Acc{k}": f"Mult_acc_{k}" for k in (3, 5, 7)}


def facts_of_8_2(text: str):
    """Dataset, first word of the row's name, metric, and mean with deviation as the table of facts prints them."""
    head: list[str] = []
    for line in text.partition("### 8.2")[2].partition("### 8.3")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or set(line) <= set("|-"):
            continue
        if cells[0] in {"MOSEI", "SIMS-V2", ""}:
            head = [{"MOSEI": "mosei", "SIMS-V2": "simsv2"}.get(cells[0], ""), *cells[1:]]
        elif "rows 6–10 / 11–15" not in cells[0]:
            for name, cell in zip(head[1:], cells[1:], strict=True):
                dataset, _, of_classes = name.partition(" ") if not head[0] else (head[0], "", "")
                metric = {"Acc": "acc", "WF1": "weight_F1"}[of_classes] if of_classes else HEADS.get(name, name)
                yield dataset.lower(), cells[0].partition(" ")[0], metric, cell.strip("*")


def test_the_methods_rows_are_those_of_the_table_of_facts_to_the_digit(shared):
    facts = list(facts_of_8_2((shared / "DATASETS.md").read_text("utf-8")))
    assert len(facts) == 3 * (8 + 8 + 4)
    for dataset, backbone, metric, cell in facts:
        rows = (r for r in STORED if (r["source"], r["dataset"]) == ("authors", dataset))
        (row,) = (r for r in rows if r["backbone"].startswith(backbone))
        for printed, own in zip(cell.split("±"), row["metrics"][metric], strict=False):
            digits = len(printed.partition(".")[2])
            assert rounded(Decimal(str(own)), digits) == Decimal(printed), (dataset, backbone, metric)


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_use_the_keys_of_the_metrics_and_name_a_source(dataset):
    known = set(metrics.evaluate(DATASETS[dataset], [0, 1], [0, 1]))
    rows = published(dataset)
    own = [row.own for row in rows]
    assert own == sorted(own, reverse=True)
    assert sum(own) == (3 if dataset in {"mosei", "simsv2", "meld", "cherma"} else 0)
    assert len({(row.system, row.source) for row in rows}) == len(rows)
    for row in rows:
        assert set(row.mean) <= known
        assert row.mean
        assert all(0 < value < 1 for value in row.mean.values())
        assert row.source
        assert row.citation
        assert row.url is None or row.url.startswith("https://")


def test_figures_of_two_classes_are_of_the_kind_that_their_source_tells():
    kinds = {(r["source"], key[:4]) for r in STORED if r["dataset"] in {"mosei", "mosi"} for key in r["metrics"]}
    assert ("mgsi", "Non0") in kinds
    assert ("mgsi", "Has0") not in kinds
    assert not any(key in r["metrics"] for r in STORED if r["dataset"] == "mosei" for key in ("Acc2", "Mult_acc_2"))


def test_errors_stay_in_label_units_and_shares_become_fractions():
    row = published("mosei")[1]
    assert row.system == "MSE-Adapter, ChatGLM3-6B"
    assert (row.mean["Has0_acc_2"], row.mean["MAE"], row.sd["MAE"]) == (0.8691, 0.5147, 0.01)


@pytest.mark.parametrize("dataset", ["sample", "", "my_table"])
def test_other_datasets_have_no_published_rows(dataset):
    assert published(dataset) == ()
