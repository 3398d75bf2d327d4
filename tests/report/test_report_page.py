"""The HTML report: one file that loads nothing, runs only its own scripts, and shows strangers' texts as text."""

import base64
import builtins
import hashlib
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.report import build, charts
from mse_pipeline.report.details import read_details
from mse_pipeline.report.formats import check_file, require_page
from mse_pipeline.report.formats.page import to_html
from mse_pipeline.store.cache import open_cache
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401 - pytest finds it by its name
from tests.report.conftest import RunFolders

TEXTS = [
    "</script><script>alert(1)</script>",
    "\"quotes\" & 'others' <img src=x onerror=alert(1)>",
    "مرحبا بالعالم",
    "😀 smile 愤怒",
    "{{ 7 * 7 }} %{text} $x$",
]
CLASSES = ["</script><b>joy", "愤怒 \"'&", "مرحبا"]


class Page(HTMLParser):
    """Texts, scripts, links and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.scripts, self._open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts.append(data)
        elif data.strip() and inside != "style":
            self.texts.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two runs of a dataset whose texts and classes are hostile, one with all that a run can tell, and its cache."""
    root = tmp_path_factory.mktemp("page")
    folders = RunFolders(root / "runs")
    changes = {"dataset": "mine", "metrics": "classification", "classes": CLASSES}
    clips = [f"test/{n}" for n in range(4)] + ["<i>id</i>"]
    streams = {
        "acoustic": {"name": "acoustic.made", "version": "x"},
        "visual": {"name": "visual.gone", "version": "y"},
    }
    full = folders.add(
        "full",
        **changes,
        streams={"acoustic": "acoustic.made", "visual": "visual.gone"},
        config={"streams": streams, "without": ["tgm"], "backbone": {"dtype": "bfloat16"}, "where": "snr > 10"},
        recipe={"prompt": {"task": "It's: what?"}, "training": {"epochs": 3, "seeds": [1], "clip_norm": None}},
    )
    for seed in (1, 2):
        place = folders.seed(full, seed, {"acc": 0.4, "weight_F1": 0.3 + seed / 10})
        chances = [[0.1, 0.7, 0.2]] * 5
        folders.predictions(place, [0, 2, 2, 0, 2], [1, 1, 1, 1, 1], clips=clips, probabilities=chances)
        folders.epochs(place, [2.0, 1.0, 0.5], [{"weight_F1": 0.1}, {}, {"weight_F1": 0.4}])
    bare = folders.add("bare <b>", **changes, streams={})
    folders.seed(bare, 1, {"acc": 0.2, "weight_F1": 0.2})
    dataset = open_cache(root / "cache").create(
        "mine",
        [Clip(id=c, split=Split.TEST, text=t, label=CLASSES[0]) for c, t in zip(clips, TEXTS, strict=True)],
        task=Classification(tuple(CLASSES)),
    )
    rows = Features([[1.0, np.nan], [2.0, 3.0], [0.0, 0.0]], [[0, 1], [1, 2], [2, 3]], [True, True, False], ["a", "b"])
    dataset.put("acoustic.made", {clips[0]: rows})
    full_run = (full / "run.json").read_text().replace('"version": "x"', f'"version": "{version(dataset)}"')
    (full / "run.json").write_text(full_run)
    return build([folders.root]), open_cache(root / "cache")


def version(dataset):
    return open_cache(dataset.path.parent)["mine"].manifest.streams["acoustic.made"].version


@pytest.fixture(scope="module")
def page(built):
    return to_html(*built, lambda dataset, clip: f"inspect/{dataset}.html" if clip == "test/0" else None)


@pytest.fixture(scope="module")
def read(page):
    return Page(page)


def test_only_its_own_scripts_may_run_and_nothing_may_be_loaded(page, read):
    (policy,) = (a["content"] for tag, a in read.tags if tag == "meta" and "http-equiv" in a)
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in read.scripts]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == set(digests)
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert "unsafe-eval" not in policy
    assert sum("Plotly.newPlot" in one and len(one) < 100_000 for one in read.scripts) == len(read.scripts) - 1


def test_it_refers_to_nothing_outside_but_the_sources_of_published_rows(read):
    for tag, attributes in read.tags:
        assert not any(name.startswith("on") for name in attributes), attributes
        assert "src" not in attributes
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        if tag == "link":
            assert attributes["href"] == "data:,"
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert all(link.startswith("#") or link == "inspect/mine.html" for link in links)


def test_no_chart_sends_its_data_anywhere(read):
    drawn = [one for one in read.scripts if len(one) < 100_000]
    assert drawn
    for script in drawn:
        assert '"showSendToCloud": false' in script
        assert "sendChartToCloud" in script.partition('"modeBarButtonsToRemove"')[2]
        assert "http" not in script.replace('"plotlyServerURL": ""', "")


def test_texts_and_names_of_strangers_are_shown_as_they_stand(read):
    for text in (*TEXTS, *CLASSES, "<i>id</i>", "bare <b>"):
        assert " ".join(text.split()) in read.texts
    assert not {tag for tag, _ in read.tags} & {"img", "b", "i"}
    assert any(attributes.get("dir") == "auto" for tag, attributes in read.tags if tag == "td")


@pytest.mark.parametrize("name", ["<b>x</b>", "</script>", "a & b", "<a href='javascript:alert(1)'>x</a>"])
def test_charts_show_names_as_they_stand(name):
    assert charts.plain(name).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == name
    assert "<" not in charts.plain(name)


def test_each_part_of_a_run_is_there(read):
    heads = " ".join(read.texts)
    for head in ("Seeds", "Classes", "Confusion", "Calibration", "Training loss", "Hardest clips", "Repeat it"):
        assert head in heads
    assert "‡ full: all predictions of seed 1, 2 are the same: it has collapsed." in read.texts
    assert "not installed" in read.texts  # of its environment


def test_a_run_that_tells_little_says_that_it_was_not_recorded(read):
    assert "Predictions of single clips: not recorded." in read.texts
    assert "Learning curves: not recorded." in read.texts


def test_the_page_fits_a_phone_dark_and_print(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert page.count('<div class="scroll"><table>') == len(re.findall(r"<table>", page))


def test_clips_with_a_page_are_linked_and_others_have_the_command(read):
    assert sum(attributes.get("href") == "inspect/mine.html" for tag, attributes in read.tags if tag == "a") == 1
    assert "mse inspect test/2 --dataset mine" in read.texts
    assert "mse inspect '<i>id</i>' --dataset mine" in read.texts


# What it is made of


def details(built, name):
    report, cache = built
    (row,) = (row for row in report.tables[0].rows if row.run.name == name)
    return read_details(row, "test", cache)


def test_the_hardest_clips_come_first_with_what_the_seeds_said(built):
    hardest = details(built, "full").hardest
    assert [clip.clip for clip in hardest] == ["test/0", "test/3", "test/1", "test/2", "<i>id</i>"]
    assert hardest[0].text == TEXTS[0]
    assert hardest[0].target == CLASSES[0]
    assert hardest[0].predictions == ((CLASSES[1], 2),)
    assert (hardest[0].right, hardest[0].measure) == (0, pytest.approx(0.1))


def test_streams_tell_what_the_cache_has_of_them(built):
    made, gone = details(built, "full").streams
    assert (made.name, made.done, made.failed) == ("acoustic.made", 1, {})
    assert made.valid == pytest.approx(2 / 3)
    assert made.defined == pytest.approx(3 / 4)
    assert (gone.name, gone.done, gone.valid, gone.defined) == ("visual.gone", None, None, None)


@pytest.mark.parametrize(("source", "asked"), [("built-in", False), ("/models/mine", False), ("Qwen/Qwen-1_8B", True)])
def test_only_a_repository_is_asked_for_with_its_revision(source, asked, folders):
    folders.add("one", seeds=[{"acc": 0.5}], config={"backbone": {"source": source, "revision": "1"}})
    command = dict(details((build([folders.root]), None), "one").commands)
    assert all(("--revision 1" in words) == asked for words in command.values() if words.startswith("mse train"))
    assert any(words.startswith("mse train") for words in command.values())


def test_the_command_that_repeats_a_run_has_every_setting(built):
    words = shlex.split(details(built, "full").commands[0][1])
    assert words[:6] == ["mse", "train", "mine", "--backbone", "tiny", "--dtype"]
    told = [(words[n], words[n + 1]) for n in range(3, len(words), 2)]
    assert told == [
        ("--backbone", "tiny"),
        ("--dtype", "bfloat16"),
        ("--acoustic", "acoustic.made"),
        ("--visual", "visual.gone"),
        ("--without", "tgm"),
        ("--where", "snr > 10"),
        ("--set", 'prompt.task="It\'s: what?"'),
        ("--set", "training.epochs=3"),
        ("--set", "training.clip_norm=null"),
        ("--seed", "1"),
        ("--seed", "2"),
    ]


def test_curves_end_where_a_kill_has_cut_their_file(built):
    (first, _) = details(built, "full").curves
    assert first.epochs == (1, 2, 3)
    assert first.loss == (2.0, 1.0, 0.5)
    assert first.valid[0] == 0.1
    assert np.isnan(first.valid[1])


def test_bins_of_probability_hold_all_predictions(built):
    ((sure, right, count),) = details(built, "full").reliability
    assert (round(sure, 6), right, count) == (0.7, 0.0, 10)


# The command


def test_without_plotly_a_page_is_refused_with_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.partition(".")[0] == "plotly":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    check_file(tmp_path / "r.html")
    with pytest.raises(UsageError, match=r'pip install "mse-pipeline\[report\]"'):
        require_page()


def test_the_command_writes_a_page(mse, built, folders):  # noqa: F811
    folders.add("a", seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    page = folders.root.parent / "r.html"
    told = mse("report", folders.root, "--out", page, "--cache", folders.root.parent / "nothing")
    assert told.code == 0
    assert "Written:" in told.err
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert 'href="https://github.com/AZYoung233/MSE-Adapter"' in text
