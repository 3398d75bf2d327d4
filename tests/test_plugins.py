"""Corpora, formats, metrics and models of another package, in every command that lists or uses them."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from mse_pipeline import corpora, metrics, store
from mse_pipeline.adapter import models
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange import registry
from tests.cli.conftest import mse  # noqa: F401 - a fixture
from tests.extraction.conftest import write_wav
from tests.extractors.packages import install

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")


def fences(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, alone for one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def package(site):
    """The package of docs/plugins.md, installed."""
    import tomllib

    install(site, "my-package", {})
    (site / "my_package.py").unlink()
    (site / "my_package").mkdir()
    for code in fences("python"):
        name = code.splitlines()[0].removeprefix("# ")
        (site / name).write_text(code, encoding="utf-8")
    declared = tomllib.loads("".join(fences("toml")))["project"]["entry-points"]
    lines = [line for group, points in declared.items() for line in (f"[{group}]", *map(" = ".join, points.items()))]
    (site / "my_package-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def home(tmp_path, monkeypatch):
    for number, (split, label) in enumerate([(s, c) for s in ("train", "valid", "test") for c in ("low", "high")] * 2):
        write_wav(tmp_path / "data" / "tones" / split / f"{number}_{label}.wav", seed=5 * (label == "high"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs_as_it_stands(package, home, mse):  # noqa: F811
    for line in "".join(fences("sh")).splitlines():
        result = mse(*shlex.split(line)[1:])
        assert result.code == 0, line + result.out + result.err
    cache = store.open(home / "cache")
    assert len(cache["tones"].clips) == 12
    assert cache["imported"]["acoustic.tones"]["test/4_low"].intervals[1, 0] == pytest.approx(0.2)


def test_every_command_lists_and_uses_it(package, home, mse):  # noqa: F811
    assert "tones" in {entry["name"] for entry in mse("datasets", "list", "--json").json["datasets"]}
    assert "Tones: low and high ones" in mse("datasets", "show", "tones").out
    assert mse("datasets", "check", "tones", "--json").json["clips"] == 12
    assert "did you mean tones?" in mse("extract", "tonse").err
    assert "tones-npz" in mse("import", "--help").out + mse("import", "tones-npy", "x.npz").err

    assert mse("extract", "tones", "--streams", "acoustic.egemaps").code == 0
    unknown = mse("train", "--model", "meen")
    assert unknown.code == 2
    assert "did you mean mean?" in unknown.err
    assert not (home / "runs").exists()
    trained = mse("train", "--model", "mean", "--seed", 1, "--epochs", 1, "--json").json
    (run,) = (home / "runs").iterdir()
    config = json.loads((run / "run.json").read_text())["config"]
    assert config["training"]["model"] == "mean"
    assert set(trained["seeds"][0]["test"]) == {"hits", "misses"}

    evaluated = mse("evaluate", run)
    assert "hits ↑" in evaluated.out
    assert "misses ↓" in evaluated.out
    (table,) = mse("report", "--json").json["tables"]
    assert {(column["key"], column["higher_is_better"]) for column in table["columns"]} == {
        ("hits", True),
        ("misses", False),
    }
    clip = home / "data" / "tones" / "test" / "4_low.wav"
    assert mse("predict", run, clip, "--json").code == 0


def test_the_alarms_of_a_family_speak_of_its_own_metrics(package):
    (sentence,) = metrics.alarms("hits", [0, 0, 0, 0], [0, 0, 1, 1], classes=["low", "high"])
    assert sentence == (
        "All 4 predictions are the class low: the model has collapsed. This answer alone gives hits 50.00."
    )
    (sentence,) = metrics.alarms("hits", [0, 0, 1, 1], [0, 1, 0, 0], classes=["low", "high"])
    assert sentence == (
        "hits 25.00 is no better than that of always answering low, the largest class of these clips themselves, as "
        "the train split is not known (75.00)."
    )


KINDS = {
    "corpora": (corpora.facts, "has no OptionsModel"),
    "formats": (registry.find, "is no mse_pipeline.exchange.registry.Format"),
    "metrics": (metrics.of_classes, "is no mse_pipeline.metrics.Family"),
    "models": (lambda name: raise_first(models.check(name)), "is no subclass of mse_pipeline.adapter.TrainedModel"),
}


def raise_first(problems):
    for problem in problems:
        raise UsageError(problem)


@pytest.mark.parametrize("group", KINDS)
@pytest.mark.parametrize(
    ("code", "words"),
    [("raise ImportError('needs libfoo')", "cannot be loaded (ImportError: needs libfoo)"), ("Thing = 3", None)],
)
def test_a_package_that_does_not_fit_is_named_with_the_reason(site, group, code, words):
    find, unfit = KINDS[group]
    install(site, "broken", {"broken": "broken:Thing"}, code, group=f"mse_pipeline.{group}")
    with pytest.raises((UsageError, ValueError), match=re.escape(words or unfit)) as error:
        find("broken")
    assert "package broken" in str(error.value)


@pytest.mark.parametrize(
    ("group", "name"), [("corpora", "meld"), ("formats", "mmsa"), ("metrics", "mosei"), ("models", "mse-adapter")]
)
def test_nobody_takes_a_built_in_name(site, group, name):
    install(site, "impostor", {name: "impostor:Thing"}, "Thing = 3", group=f"mse_pipeline.{group}")
    find, _ = KINDS[group]
    assert find(name) != 3
    assert "impostor" not in sys.modules
