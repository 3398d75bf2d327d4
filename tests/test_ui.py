"""mse ui: what the page may read, what its parts make, and the whole of it in a browser."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request

import pytest

from mse_pipeline import sample, store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification
from mse_pipeline.ui import MOST_CLIPS, Places, clip_ids, clip_page, media_root, predictions, serve
from tests.cli.conftest import mse  # noqa: F401 - a fixture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '<script>alert(1)</script> & "quotes" \u202eאבג 😀'


@pytest.fixture
def places(tmp_path):
    cache = store.open(tmp_path / "cache")
    clips = [
        Clip(id=f"{split}/{n}", split=split, text=HOSTILE if n == 0 else "so it is", label=("joy", "anger")[n % 2])
        for split in Split
        for n in range(4)
    ]
    dataset = cache.create("mine", clips, task=Classification(("joy", "anger")))
    rows = {clip.id: store.Features([[0.5], [0.7]], [[0, 0.5], [0.5, 1]], [True, True], ["f"]) for clip in clips}
    dataset.put("acoustic.made", rows)
    return Places(cache, tmp_path / "runs")


def test_clips_are_found_by_split_text_and_label(places):
    dataset = places.dataset("mine")
    assert clip_ids(dataset) == ([clip.id for clip in dataset.clips], 12)
    assert clip_ids(dataset, "valid", "JOY") == (["valid/0", "valid/2"], 2)
    assert clip_ids(dataset, search="script")[1] == 3
    assert clip_ids(dataset, failed=True) == ([], 0)
    assert MOST_CLIPS < 1000


def test_a_clip_is_shown_in_a_frame_that_runs_nothing(places):
    shown = clip_page(places.dataset("mine"), "train/0", None)
    assert shown.startswith("<iframe")
    assert 'sandbox=""' in shown
    assert "<script" not in shown  # the page itself is in base64, and its text escaped


@pytest.mark.parametrize("name", ["../cache", "/etc", "", "runs", "mine/..", "nothing"])
def test_what_lies_outside_of_the_roots_has_no_name(places, name):
    with pytest.raises(UsageError, match=r"There is no run"):
        places.run(name)
    with pytest.raises(UsageError, match="There is no dataset"):
        places.dataset(name)


def test_media_are_looked_for_where_the_features_were_made_from(places, tmp_path):
    dataset = places.dataset("mine")
    assert media_root(dataset, None) is None
    assert media_root(dataset, tmp_path) == tmp_path
    assert media_root(dataset, tmp_path / "gone") is None


@pytest.fixture
def trained(places):
    from mse_pipeline import backbones
    from mse_pipeline.recipe import PromptSection, Training
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.run import train
    from mse_pipeline.training.streams import choose_streams

    settings = Training(epochs=1, batch_size=4, model="linear")
    dataset = places.dataset("mine")
    choice = choose_streams(dataset, asked={}, model="linear")
    train(prepare(dataset, backbones.load("tiny"), settings, choice, PromptSection()), places.runs, seeds=[1])
    return places


def test_predictions_of_a_run_are_listed_with_class_names(trained):
    (name,) = trained.run_names()
    header, rows = predictions(trained.run(name), "test")
    assert header == ["seed", "clip", "target", "prediction", "probability"]
    assert len(rows) == 4
    assert {row[2] for row in rows} == {"joy", "anger"}
    _, wrong = predictions(trained.run(name), "test", wrong=True)
    assert all(row[2] != row[3] for row in wrong)
    assert len(wrong) == sum(row[2] != row[3] for row in rows)


@pytest.fixture
def served(places):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'mse-pipeline[ui]'")
    page, address = serve(places)
    yield address
    page.close()


def test_the_page_is_served_on_loopback_and_gives_no_other_files(served, places):
    assert served.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(served) as answer:
        assert "fonts.googleapis" not in answer.read().decode()
    for path in ("/etc/passwd", str(places.cache.path / "mine/dataset.json")):
        with pytest.raises(urllib.error.HTTPError, match="40"):
            urllib.request.urlopen(f"{served}gradio_api/file={path}")
    client = pytest.importorskip("gradio_client").Client(served, verbose=False)
    client.predict("mine", "all", "", False, api_name="/clips")
    with pytest.raises(Exception, match=r"exception|list of choices"):
        client.predict("../runs", "train/0", api_name="/clip")
    assert "iframe" in client.predict("mine", "train/0", api_name="/clip")


def asked(address, data):
    """What the server answers to a request that no page of ours would make."""
    body = json.dumps({"data": data}).encode()
    request = urllib.request.Request(f"{address}gradio_api/call/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}gradio_api/call/predict/{event}") as answer:
        return answer.read().decode()


def test_a_file_of_this_machine_is_not_predicted_for_a_stranger(served, capfd):
    assert "Choose a file" in asked(served, [None, None, None, ""]) or "Choose a run" in asked(served, [None] * 4)
    answer = asked(served, [None, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, None, ""])
    assert "Choose" not in answer  # it did not come so far
    assert "InvalidPathError" in capfd.readouterr().err


@pytest.mark.slow
def test_a_clip_is_looked_at_and_a_new_one_predicted_in_a_browser(mse, tmp_path, monkeypatch, shared):  # noqa: F811
    pytest.importorskip("gradio", reason="needs gradio: pip install 'mse-pipeline[ui]'")
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the path")
    monkeypatch.chdir(tmp_path)
    sample.build(tmp_path / "data/sample", clips_per_emotion=(1, 1, 1), workers=1)
    assert mse("extract", "sample", "--streams", "acoustic.egemaps", "--workers", 1).code == 0
    assert mse("train", "--backbone", "tiny", "--seed", 1, "--epochs", 1).code == 0
    page, address = serve(Places(store.open(tmp_path / "cache"), tmp_path / "runs"))
    strangers, errors = [], []
    try:
        with driver.sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            tab = browser.new_page()
            tab.set_default_timeout(60_000)
            tab.on("request", lambda asked: strangers.append(asked.url) if address not in asked.url else None)
            tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
            tab.goto(address)
            frame = tab.frame_locator("iframe")
            frame.get_by_text("train/dia0_utt0").first.wait_for()
            assert frame.locator("img").count() >= 2  # frames, and the time line
            tab.get_by_role("tab", name="Predict").click()
            tab.locator("input[type=file]:visible, [data-testid=file-upload]").first.set_input_files(
                str(next((shared / "data/grid").glob("*.mpg")))
            )
            tab.get_by_text(".mpg").first.wait_for()
            tab.get_by_role("button", name="Predict").click()
            tab.get_by_text("%").first.wait_for()
            shown = tab.get_by_test_id("label-output-value").inner_text()
            browser.close()
    finally:
        page.close()
    assert shown in store.open(tmp_path / "cache")["sample"].manifest.task.classes
    assert not [url for url in strangers if not url.startswith(("data:", "blob:"))]
    assert not errors
