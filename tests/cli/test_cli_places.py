"""Tables away from their media, as labs keep them on a share: each way of saying so works, or names the mend."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from tests.corpora.raw_folder import tree

NAMES = ("a", "b", "c")


def rows(before: str = "") -> str:
    return "id,media,split,text,label\n" + "".join(
        f"{name},{before}{name}.wav,{split},x,{label}\n"
        for name, split, label in zip(NAMES, ("train", "valid", "test"), ("joy", "anger", "joy"), strict=True)
    )


def recipe(options: str) -> str:
    corpus = f"{{name: table, options: {{{options}}}}}"
    return f"version: 1\nname: mine\ncorpus: {corpus}\nstreams: {{acoustic.egemaps: {{}}}}\n"


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """Tables and recipes in folders of their own, and the media on a share."""
    share = tmp_path / "share"
    share.mkdir()
    for name in NAMES:
        with wave.open(str(share / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(b"\0\1" * 8_000)
    root = tree(
        tmp_path / "lab",
        {
            "absolute/clips.csv": rows(f"{share}/"),
            "plain/clips.csv": rows(),
            "linked/clips.csv": rows("clips/"),
            "media_root.yaml": recipe(f"table: plain/clips.csv, media_root: {share}"),
            "media_root_alone.yaml": recipe(f"media_root: {share}"),
            "table.yaml": recipe(f"table: {tmp_path}/lab/plain/clips.csv"),
            "beside.yaml": recipe("table: plain/clips.csv"),
        },
    )
    (root / "linked/clips").symlink_to(share)
    (root / "link.csv").symlink_to("plain/clips.csv")
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize(
    "words",
    [
        "absolute/clips.csv --media-root ../share",
        "plain/clips.csv --root ../share",
        "plain/clips.csv --media-root ../share",
        "linked/clips.csv --follow-links",
        "linked/clips.csv --media-root ../share",
        "media_root.yaml",
        "media_root.yaml --root plain",
        "media_root_alone.yaml --root plain",
        "table.yaml --root ../share",
        "table.yaml --media-root ../share",
        "beside.yaml --root ../share",
        "link.csv --root ../share",
        "link.csv --media-root ../share",
        "table --root plain --media-root ../share",
    ],
)
def test_a_table_away_from_its_media_is_read(mse, lab, tmp_path, words):
    result = mse("datasets", "export", *words.split(), "--out", tmp_path / "out.csv", "--json")
    assert result.code == 0, result.err
    media = [line.split(",")[1] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert [Path(name).name for name in media] == ["a.wav", "b.wav", "c.wav"]
    assert all(media)


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (
            "absolute/clips.csv",
            "--media-root {share} (in a recipe media_root) allows the paths below it (rows 2, 3",
        ),
        ("linked/clips.csv", "--follow-links allows it"),
        ("plain/clips.csv", "Use --media-root for the folder that the table's paths start from"),
        ("table --root ../share", "mse extract TABLE --root {share}"),
        ("meld --root plain --media-root ../share", "Use --follow-links if folders there are links"),
        ("plain/clips.csv --media-root none", "There is no folder none"),
    ],
)
def test_what_cannot_be_read_names_the_mend_in_one_line(mse, lab, tmp_path, words, mend):
    result = mse("extract", *words.split(), "--cache", tmp_path / "cache")
    assert result.code == 2
    assert [line[:5] for line in result.err.splitlines() if line] == ["mse: "]
    assert mend.format(share=tmp_path / "share") in result.err
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_inspect_finds_the_media_where_they_were_extracted_from(mse, lab, tmp_path):
    cache = ("--cache", tmp_path / "cache")
    made = mse("extract", "beside.yaml", "--media-root", "../share", "--limit", "1", "--workers", "1", *cache)
    assert made.code == 0
    shown = mse("inspect", "a", "--out", tmp_path / "out", *cache)
    assert shown.code == 0
    assert "is not there" not in shown.err


@pytest.mark.parametrize(("form", "code"), [("npy", 0), ("mmsa", 2)])
def test_follow_links_is_for_formats_that_are_folders(mse, tmp_path, form, code):
    np = pytest.importorskip("numpy")
    tree(tmp_path / "in", {"label.csv": rows().replace(",media,", ",kind,"), "acoustic/x.txt": ""})
    for name in NAMES:
        np.save(tmp_path / f"{name}.npy", np.ones((2, 3), np.float32))
        (tmp_path / f"in/acoustic/{name}.npy").symlink_to(tmp_path / f"{name}.npy")
    words = ("import", form, tmp_path / "in", "--name", "mine", "--cache", tmp_path / "cache")
    assert mse(*words, "--follow-links").code == code
    if code == 0:
        refused = mse(*words[:4], "other", *words[5:])
        assert "--follow-links allows it" in refused.err
