"""How far two streams are from each other: known relations give known numbers, and noise gives what chance gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.inspection.comparison import Clock, Comparison, choose_clock, compare, pair, to_dict
from mse_pipeline.store import Features
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401

CLIPS, ROWS, DIM = 30, 40, 6
RANDOM = np.random.default_rng(7)
MIX = RANDOM.standard_normal((DIM, DIM)) + 2 * np.eye(DIM)[::-1]


def slow(seed: int, rows: int = ROWS, dim: int = DIM) -> np.ndarray:
    """Values that change slowly from row to row, as features do."""
    steps = np.random.default_rng(seed).standard_normal((rows + 8, dim))
    return np.stack([steps[k : k + 8].sum(0) for k in range(rows)])


def features(values: np.ndarray, step: float = 0.1, names: str = "x", notes: dict[str, Any] | None = None) -> Features:
    edges = np.arange(len(values) + 1) * step
    intervals = np.stack([edges[:-1], edges[1:]], 1)
    named = [f"{names}_{k}" for k in range(values.shape[1])]
    return Features(values, intervals, ~np.isnan(values).all(1), named, notes or {})


def clips(change: Any, names: str = "y", **more: Any) -> list[tuple[Features, Features]]:
    """Thirty clips of a stream, and of another that is made of it."""
    return [(features(slow(k)), features(np.asarray(change(k, slow(k))), names=names, **more)) for k in range(CLIPS)]


def result(both: list[tuple[Features, Features]], **clock: Any) -> Comparison:
    return compare(pair(both, **clock))


def r_of(found: Comparison) -> np.ndarray:
    return np.array([one.r for one in found.correlated])


def test_a_stream_is_what_it_is() -> None:
    found = result(clips(lambda _, x: x, names="x"))
    assert found.matched == "name"
    assert r_of(found) == pytest.approx(np.ones(DIM), abs=1e-9)
    assert (found.mean_cca, found.cka) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert found.components == (DIM, DIM)
    assert found.rows == CLIPS * ROWS


def test_a_linear_image_has_canonical_correlation_1_and_other_values() -> None:
    found = result(clips(lambda _, x: x @ MIX + 100.0))
    assert found.matched == "place"
    assert found.mean_cca == pytest.approx(1.0, abs=1e-6)
    assert np.abs(r_of(found)).max() < 0.95
    assert found.cka < 0.95


def test_noise_gives_what_chance_gives() -> None:
    found = result(clips(lambda k, x: slow(1000 + k)))
    assert abs(found.mean_cca - np.mean(found.chance_cca)) < 3 * np.std(found.chance_cca) + 0.02
    assert found.cka < 2 * max(found.chance_cka)
    assert np.abs(r_of(found)).max() < 0.25
    assert found.mean_cca < 0.3


def test_exchanged_clips_agree_no_more_than_chance() -> None:
    both = clips(lambda _, x: x)
    moved = [(one, both[(k + 11) % CLIPS][1]) for k, (one, _) in enumerate(both)]
    found = result(moved)
    assert result(both).mean_cca > 0.99
    assert found.mean_cca < max(found.chance_cca) + 0.05


def test_a_stream_with_noise_lies_between_chance_and_1() -> None:
    found = result(clips(lambda k, x: x + slow(500 + k)))
    assert 0.6 < found.mean_cca < 0.8  # half of the variance is shared: the root of it is 0.71
    assert r_of(found) == pytest.approx(np.full(DIM, 0.71), abs=0.1)
    assert max(found.chance_cca) < 0.4


def test_wide_noise_on_few_rows_is_held_down_and_told_beside_its_chance() -> None:
    both = [(features(slow(k, 20, 80)), features(slow(900 + k, 20, 80), names="y")) for k in range(10)]
    found = result(both)
    assert found.components == (20, 20)  # of 200 rows; with all 80 components two noises agree at 0.8 and above
    assert found.mean_cca == pytest.approx(np.mean(found.chance_cca), abs=0.03)


def test_values_are_matched_by_name_in_any_order() -> None:
    order = [3, 0, 5, 1, 4, 2]
    both = []
    for k in range(CLIPS):
        one = features(slow(k))
        other = Features(one.values[:, order], one.intervals, one.valid, [one.names[k] for k in order])
        both.append((one, other))
    found = result(both)
    assert r_of(found) == pytest.approx(np.ones(DIM), abs=1e-9)
    assert [one.other for one in found.correlated] == [one.name for one in found.correlated]


def test_streams_of_other_widths_tell_the_best_partner_of_each_value() -> None:
    found = result(clips(lambda k, x: np.concatenate([slow(300 + k), -x[:, [2, 1]]], 1)))
    assert found.matched == ""
    assert [(one.best, round(one.best_r, 6)) for one in found.correlated[1:3]] == [("y_7", -1.0), ("y_6", -1.0)]
    assert np.isnan(found.correlated[0].r)
    assert found.chance_r < 0.4
    assert found.mean_cca < 0.6  # two of six


def test_undefined_values_are_left_out() -> None:
    def holes(k: int, x: np.ndarray) -> np.ndarray:
        values = x.copy()
        values[np.random.default_rng(k).random(x.shape) < 0.1] = np.nan
        return values

    found = result(clips(holes))
    assert r_of(found) == pytest.approx(np.ones(DIM), abs=1e-9)
    assert found.mean_cca == pytest.approx(1.0, abs=1e-6)
    assert 0.4 * CLIPS * ROWS < found.rows < 0.7 * CLIPS * ROWS  # 0.9 to the sixth


def test_values_that_never_change_or_are_mostly_undefined_do_not_count() -> None:
    def spoil(_: int, x: np.ndarray) -> np.ndarray:
        values = x.copy()
        values[:, 1] = 4.0
        values[5:, 2] = np.nan
        values[:, 3] = np.nan
        return values

    found = result(clips(spoil))
    assert found.dims == (DIM, DIM - 3)
    assert np.isnan(r_of(found)[[1, 3]]).all()
    assert r_of(found)[[0, 2, 4, 5]] == pytest.approx(np.ones(4), abs=1e-9)
    assert found.rows == CLIPS * ROWS


def test_rows_that_are_not_valid_are_left_out() -> None:
    both = []
    for k in range(CLIPS):
        one, other = features(slow(k)), features(slow(k))
        values, valid = other.values.copy(), np.arange(ROWS) % 4 > 0
        values[~valid] = 0.0
        both.append((one, Features(values, other.intervals, valid, other.names)))
    pairs = pair(both)
    assert len(pairs.a) == CLIPS * ROWS * 3 // 4
    assert r_of(compare(pairs)) == pytest.approx(np.ones(DIM), abs=1e-9)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (features(slow(0)), features(slow(0), step=0.2), Clock(step=0.2)),
        (features(slow(0)), features(slow(0, 1)), Clock(bins=1)),
        (features(slow(0)), features(slow(0), notes={"clock": "rows"}), Clock()),
        (features(slow(0)), Features(slow(0), np.full((ROWS, 2), np.nan), [True] * ROWS, "abcdef"), Clock()),
    ],
    ids=["two rates", "one row a clip", "numbered rows", "no times"],
)
def test_the_clock_fits_both_streams(one: Features, other: Features, expected: Clock) -> None:
    assert choose_clock([(one, other), (one, other)], None, None) == expected


def test_streams_of_two_rates_meet_on_the_slower_one_s_grid() -> None:
    pairs = pair([(features(slow(k, 80), step=0.05), features(slow(k, 80)[::2])) for k in range(CLIPS)])
    assert pairs.clock == Clock(step=0.1)
    assert pairs.a[0] == pytest.approx(slow(0, 80)[:2].mean(0), rel=1e-6)
    assert compare(pairs).mean_cca > 0.9


def test_one_row_a_clip_is_compared_with_the_mean_of_the_clip() -> None:
    pairs = pair(clips(lambda _, x: x.mean(0, keepdims=True)))
    assert pairs.clock == Clock(bins=1)
    assert len(pairs.a) == CLIPS
    assert r_of(compare(pairs)) == pytest.approx(np.ones(DIM), abs=1e-6)


def test_clips_of_other_lengths_are_left_out_and_counted() -> None:
    both = clips(lambda k, x: x[:20] if k < 3 else x[:-1])
    pairs = pair(both)
    assert (pairs.clips, dict(pairs.left_out)) == (CLIPS - 3, {"other length": 3})
    numbered = [(one, features(np.asarray(other.values), notes={"clock": "rows"})) for one, other in both]
    with pytest.raises(
        UsageError, match=r"30 with other length, as a clip has 40 rows in one and 20 in the other.*--bins"
    ):
        pair(numbered)
    assert len(pair(numbered, bins=10).a) == 10 * CLIPS


@pytest.mark.parametrize(
    ("both", "clock", "words"),
    [
        (clips(lambda _, x: x, notes={"clock": "rows"}), {"step": 0.1}, "A grid needs the times of rows"),
        (clips(lambda _, x: np.full_like(x, np.nan)), {}, "30 with no common row"),
        (clips(lambda _, x: np.ones_like(x)), {}, "The second stream has no value that is defined in half of the rows"),
        (clips(lambda _, x: x)[:1], {"bins": 5}, "5 rows have all values of both streams, fewer than 10"),
    ],
)
def test_what_cannot_be_compared_is_told(both: Any, clock: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        result(both, **clock)


def test_many_rows_are_thinned_to_a_bounded_number() -> None:
    pairs = pair([(features(slow(k, 6_000, 2)), features(slow(k, 6_000, 2))) for k in range(4)])
    assert pairs.thinned
    assert len(pairs.a) == 10_000


def test_the_same_seed_gives_the_same_numbers() -> None:
    pairs = pair(clips(lambda k, x: x + slow(500 + k)))
    assert to_dict(pairs, compare(pairs, 3)) == to_dict(pairs, compare(pairs, 3))
    assert compare(pairs, 3).chance_cca != compare(pairs, 4).chance_cca


@pytest.fixture
def cache(tmp_path: Any) -> Any:
    """Thirty clips with a stream, the same mixed, and one of other rows without times."""
    cache = store.open(tmp_path / "cache")
    told = [Clip(id=f"train/{k}", split=Split.TRAIN, text="so", label="joy") for k in range(CLIPS)]
    dataset = cache.create("mine", told, task=Classification(("joy", "anger")))
    dataset.put("acoustic.one", {f"train/{k}": features(slow(k)) for k in range(CLIPS)})
    dataset.put("acoustic.mixed", {f"train/{k}": features(slow(k) @ MIX, names="m") for k in range(5, CLIPS)})
    other = cache.create("other", told, task=Classification(("joy", "anger")))
    other.put("acoustic.one", {f"train/{k}": features(slow(k)) for k in range(CLIPS)})
    return tmp_path / "cache"


def test_the_command_prints_a_table_that_fits_into_80_columns(mse: Any, cache: Any, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", "80")
    out = mse("extractors", "compare", "mine/acoustic.one", "mine/acoustic.mixed", "--cache", cache).out
    assert max(map(len, out.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "25 clips; 1,000 rows (a grid of 0.1 s), 1,000 with all values" in lines
    assert any(line.startswith("mean CCA 1.000 0.") and line.endswith("6 and 6") for line in lines)
    assert any(line.startswith("x_0 m_0 ") for line in lines)


def test_the_command_as_json_between_two_caches(mse: Any, cache: Any) -> None:  # noqa: F811
    words = [
        "mine/acoustic.one",
        "other/acoustic.one",
        "--other-cache",
        cache,
        "--cache",
        cache,
        "--clips",
        "12",
        "--json",
    ]
    told = mse("extractors", "compare", *words).json
    assert (told["clips"], told["rows"], told["clock"]) == (12, 480, "a grid of 0.1 s")
    assert told["cca"]["mean"] == pytest.approx(1.0, abs=1e-6)
    assert told["correlation"]["matched_by"] == "name"
    assert told["correlation"]["least"] == pytest.approx(1.0, abs=1e-6)
    assert [one["r"] for one in told["correlation"]["of_each"]] == pytest.approx([1.0] * DIM, abs=1e-6)


def test_the_command_reads_files_of_other_projects(mse: Any, cache: Any, tmp_path: Any) -> None:  # noqa: F811
    for folder, rows in (("same", ROWS), ("halved", ROWS // 2)):
        (tmp_path / folder).mkdir()
        for k in range(CLIPS):
            np.save(tmp_path / folder / f"{k}.npy", slow(k)[:: ROWS // rows] @ MIX)
    (tmp_path / "labels.csv").write_text(
        "name,emotion\n" + "".join(f"{k},{'joy' if k % 2 else 'fear'}\n" for k in range(CLIPS)), encoding="utf-8"
    )
    base = ["extractors", "compare", "mine/acoustic.one", f"npy:{tmp_path}", "--cache", cache]
    options = ["-o", f"labels={tmp_path / 'labels.csv'}", "-o", "split=train", "-o"]
    told = mse(*base, *options, "acoustic=same", "--json").json
    assert (told["clock"], told["clips"]) == ("row by row", CLIPS)
    assert told["cca"]["mean"] == pytest.approx(1.0, abs=1e-6)
    refused = mse(*base, *options, "acoustic=halved")
    assert refused.code == 2
    assert "a clip has 40 rows in one and 20 in the other" in refused.err
    parts = mse(*base, *options, "acoustic=halved", "--bins", "10", "--json").json
    assert parts["cca"]["mean"] > 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine/acoustic.one", "mine/acoustic.on"], "has no stream 'acoustic.on'. Did you mean acoustic.one?"),
        (["mine/acoustic.one", "min/acoustic.one"], "There is no dataset 'min'"),
        (["mine", "mine/acoustic.one"], "'mine' names no stream: write DATASET/STREAM"),
        (["mine/acoustic.one", "mine/acoustic.one@v9"], "has no version 'v9'"),
        (["mine/acoustic.one", "nothing:x"], "There is no format 'nothing'"),
        (["mine/acoustic.one", "mine/acoustic.mixed", "--stream", "a"], "--option and --stream are for a file"),
        (["mine/acoustic.one", "mine/acoustic.mixed", "--step", "1", "--bins", "2"], "either --step or --bins"),
    ],
)
def test_the_command_tells_what_is_wrong(mse: Any, cache: Any, words: list[str], message: str) -> None:  # noqa: F811
    found = mse("extractors", "compare", *words, "--cache", cache)
    assert found.code == 2
    assert message in " ".join(found.err.split())


def test_streams_without_a_shared_clip_are_told(mse: Any, cache: Any) -> None:  # noqa: F811
    told = [Clip(id="test/z", split=Split.TEST, text="so", label="joy")]
    strange = store.open(cache).create("strange", told, task=Classification(("joy", "anger")))
    strange.put("acoustic.one", {"test/z": features(slow(0))})
    found = mse("extractors", "compare", "mine/acoustic.one", "strange/acoustic.one", "--cache", cache)
    assert found.code == 2
    message = " ".join(found.err.split())
    assert "share no clip: mine/acoustic.one has 30 clips, as 'train/0'; strange/acoustic.one has 1 clips" in message
