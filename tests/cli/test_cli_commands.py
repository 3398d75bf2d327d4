"""The three commands on the sample corpus, as a user types them."""

import pytest

from mse_pipeline import sample, store


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    sample.build(folder / "data" / "sample", clips_per_emotion=(2, 1, 1), workers=2)
    return folder


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.delenv("MSE_CACHE", raising=False)
    monkeypatch.delenv("MSE_DATA", raising=False)
    return home


def test_extract_train_report(mse, at_home):
    extracted = mse("extract", "sample", "--workers", 1)
    assert extracted.code == 0
    assert "visual.mtcnn" in extracted.out
    assert extracted.out.count("28") >= 2  # all clips have both streams
    again = mse("extract", "sample", "--workers", 1, "--json", "--quiet", "--set", "media.max_seconds=30")
    assert again.json["processed"] == 0
    assert again.err == ""
    source = store.open(at_home / "cache")["sample"].manifest.source
    assert (source["recipe"], source["settings"]) == ("sample", ["media.max_seconds=30"])

    trained = mse("train", "--backbone", "tiny", "--seed", 1, "--epochs", 2, "--json")
    assert trained.code == 0
    assert trained.json["seeds"][0]["epochs"] == 2
    text = mse("train", "--seed", 1, "--epochs", 2, "--without", "acoustic", "--without", "visual")
    assert "Run: runs/sample-tiny-text-only-" in text.out
    assert "(done before)" in mse("train", "--seed", 1, "--epochs", 2).out

    reported = mse("report", "--markdown", "report.md")
    assert reported.code == 0
    assert "text-only" in reported.out or "sample-tiny-tex" in reported.out
    assert (at_home / "report.md").read_text().count("|") > 10
    assert len(mse("report", "--json").json["tables"]) == 1

    listed = mse("cache", "ls")
    assert "sample" in listed.out
    assert mse("cache", "ls", "--json").json["datasets"][0]["clips"] == 28
    assert "grid" in mse("cache", "show", "sample").out
    assert mse("cache", "show", "sample", "--json").json["streams"]["visual.mtcnn"]["done"] == 28
    assert mse("cache", "show", "sample", "--failures").out.strip() == "Nothing failed."


def test_an_empty_cache_says_what_fills_it(mse, tmp_path):
    assert "mse extract" in mse("cache", "ls", "--cache", tmp_path).out


def test_a_clip_table_alone_is_a_dataset(mse, at_home, tmp_path):
    source = at_home / "data" / "sample"
    clips = sorted((source / "train_splits").glob("*.mp4"))[:2]
    lines = [f"c{n},{clip.relative_to(source)},train,hello,{'ab'[n]}" for n, clip in enumerate(clips)]
    (source / "my clips.csv").write_text("\n".join(["id,media,split,text,label", *lines]) + "\n")
    result = mse("extract", source / "my clips.csv", "--cache", tmp_path / "cache", "--workers", 1, "--json")
    (source / "my clips.csv").unlink()
    assert result.code == 0
    assert result.json["dataset"] == "my_clips"
    assert result.json["streams"]["visual.mtcnn"]["done"] == 2


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_reuses_what_is_there(mse, tmp_path, home, monkeypatch):
    monkeypatch.setattr("mse_pipeline.sample.corpus.build", lambda root, workers: None)
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "data").symlink_to(home / "data" / "sample")
    result = mse("demo", "--out", folder, "--seed", 1, "--workers", 1, "--json")
    assert result.code == 0
    assert result.json["extraction"]["failed_clips"] == 0
    assert {run["variant"] for table in result.json["report"]["tables"] for run in table["runs"]} == {
        "adapter",
        "text-only",
    }
    assert (folder / "report.md").is_file()
