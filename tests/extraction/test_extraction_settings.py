"""A stream's settings are part of its version: changing one stream's costs that stream alone, and nothing is lost."""

from __future__ import annotations

import pytest

from mse_pipeline import store
from mse_pipeline.store.pruning import prune

CHANGED, KEPT = "acoustic.voice", "acoustic.egemaps"
FUNCTIONALS = {"extractor": "acoustic.opensmile", "level": "functionals"}


def streams(**options):
    return {KEPT: {}, CHANGED: {**FUNCTIONALS, **options}}


def opened(tmp_path):
    return store.open(tmp_path / "cache")["mine"]


@pytest.mark.slow
def test_changing_one_stream_s_setting_extracts_that_stream_only(corpus, recipe, run, tmp_path):
    root = corpus()
    run(recipe(streams=streams()), root)
    kept_version = opened(tmp_path).manifest.streams[KEPT].version
    folder = opened(tmp_path).stream_folder(KEPT, kept_version)
    # All but the pack's state, in which the journal stands that has grown.
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir() if not p.match("pack-*.json")}
    summary = run(recipe(streams=streams(set="GeMAPSv01b")), root)
    assert summary.streams[CHANGED].made == 9
    assert summary.streams[KEPT].made == 0
    assert opened(tmp_path).manifest.streams[KEPT].version == kept_version
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert opened(tmp_path)[CHANGED]["c0"].dim == 62


def test_the_earlier_version_stays_and_is_read_again_without_being_made(corpus, recipe, run, tmp_path):
    root = corpus()
    run(recipe(streams=streams()), root)
    before = dict(opened(tmp_path).native(CHANGED).items())
    first = opened(tmp_path).manifest.streams[CHANGED].version
    run(recipe(streams=streams(set="GeMAPSv01b")), root)
    second = opened(tmp_path).manifest.streams[CHANGED].version
    folder = opened(tmp_path).path / "streams" / CHANGED
    assert first != second
    assert {path.name for path in folder.iterdir()} == {first, second}
    assert run(recipe(streams=streams()), root).processed == 0
    after = opened(tmp_path).native(CHANGED)
    assert len(before) == 9
    assert all(after[clip].equals(features) for clip, features in before.items())


@pytest.mark.slow
def test_both_versions_are_read_side_by_side_until_pruning_takes_the_earlier_one(corpus, recipe, run, tmp_path):
    root = corpus()
    run(recipe(streams=streams()), root)
    (first,) = opened(tmp_path).versions(CHANGED)
    made = dict(opened(tmp_path).native(CHANGED).items())
    run(recipe(streams=streams(set="GeMAPSv01b")), root)
    dataset = opened(tmp_path)
    old, new = dataset.native(CHANGED, first.id), dataset.native(CHANGED)
    assert list(old) == list(new) == [f"c{n}" for n in range(9)]
    assert all(old[clip].equals(features) for clip, features in made.items())
    assert {(old[clip].dim, new[clip].dim) for clip in new} == {(88, 62)}

    kept = {stream: (dict(dataset.native(stream).items()), dict(dataset[stream].items())) for stream in dataset}
    (gone,) = prune(dataset).versions
    assert (gone.stream, gone.version, gone.done) == (CHANGED, first.id, 9)
    assert gone.differs == ("set: eGeMAPSv02 -> GeMAPSv01b",)
    dataset = opened(tmp_path)
    for stream, (native, packed) in kept.items():
        assert all(dataset.native(stream)[clip].equals(one) for clip, one in native.items())
        assert all(dataset[stream][clip].equals(one) for clip, one in packed.items())
    assert run(recipe(streams=streams(set="GeMAPSv01b")), root).processed == 0

    summary = run(recipe(streams=streams()), root)
    assert (summary.streams[CHANGED].made, summary.streams[KEPT].made) == (9, 0)
    again = opened(tmp_path).native(CHANGED)
    assert all(again[clip].equals(features) for clip, features in made.items())


def test_an_option_spelt_out_at_its_default_is_no_change(corpus, recipe, run):
    root = corpus()
    run(recipe(streams=streams()), root)
    assert run(recipe(streams=streams(set="eGeMAPSv02")), root).processed == 0


@pytest.mark.slow
def test_one_extractor_makes_two_streams_with_settings_of_their_own(corpus, recipe, run, tmp_path):
    both = {"acoustic.long": {**FUNCTIONALS}, "acoustic.short": {**FUNCTIONALS, "window": 0.2, "hop": 0.1}}
    summary = run(recipe(streams=both), corpus())
    assert {name: count.made for name, count in summary.streams.items()} == {"acoustic.long": 9, "acoustic.short": 9}
    dataset = opened(tmp_path)
    assert len(dataset.native("acoustic.long")["c0"]) == 1
    assert len(dataset.native("acoustic.short")["c0"]) > 1
