"""Extractors of other packages: found without importing them, and none breaks another."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.registry import KIND, available, check, create, find
from mse_pipeline.media.audio import Audio
from tests.extractors.packages import LOUDNESS, install


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, alone for one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.startswith(("loud_", "broken"))]:
        monkeypatch.delitem(sys.modules, name)  # what another test installed under the same name
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def test_a_package_adds_an_extractor_that_recipes_can_name(site) -> None:
    install(site, "loud-tools", {"acoustic.loudness": "loud_tools:Loudness"}, LOUDNESS)
    assert check({"acoustic.loudness": {"hop": 0.05}}) == []
    extractor = create("acoustic.loudness", {"hop": 0.05})
    features = extractor(Audio(np.full(1600, 0.1, np.float32)))
    assert features.values.ravel() == pytest.approx([-20.0, -20.0], abs=1e-3)
    assert extractor.identity()["config"] == {"hop": 0.05}


def test_what_is_told_of_it_comes_from_its_metadata_without_importing_it(site) -> None:
    install(site, "loud-tools", {"acoustic.loudness": "loud_tools:Loudness"}, LOUDNESS, licence="BSD-3-Clause")
    entry = available()["acoustic.loudness"]
    assert (entry.summary, entry.licence, entry.brought_by) == (
        "Says what loud-tools is for",
        "BSD-3-Clause",
        "loud-tools",
    )
    assert "loud_tools" not in sys.modules
    assert entry.missing() == ""


def test_its_options_are_checked_like_our_own(site) -> None:
    install(site, "loud-tools", {"acoustic.loudness": "loud_tools:Loudness"}, LOUDNESS)
    problems = check({"acoustic.loudness": {"hopp": 1, "hop": "long"}})
    assert problems[0] == ("acoustic.loudness.hopp", "There is no such option; did you mean hop?")
    assert problems[1][0] == "acoustic.loudness.hop"


@pytest.mark.parametrize(
    ("code", "place", "words"),
    [
        ("raise ImportError('needs libfoo 3')", "broken:Thing", "cannot be loaded (ImportError: needs libfoo 3)"),
        ("", "broken:Thing", "cannot be loaded (AttributeError: "),
        ("", "broken_elsewhere:Thing", "cannot be loaded (ModuleNotFoundError: "),
        ("Thing = 3", "broken:Thing", "is no subclass of mse_pipeline.extractors.base.Extractor"),
        (LOUDNESS.replace("revision, ", "").replace("1, ", "", 1), "broken:Loudness", "does not say its revision"),
        (
            LOUDNESS.replace('Config = "loudness", 1, LoudnessConfig', 'Config = "loudness", 1, dict'),
            "broken:Loudness",
            "must be a dataclass",
        ),
    ],
    ids=["import error", "no such class", "no such module", "no extractor", "no revision", "options of no known kind"],
)
def test_a_broken_package_is_told_and_breaks_no_other(site, code: str, place: str, words: str) -> None:
    install(site, "broken", {"acoustic.broken": place}, code)
    install(site, "loud-tools", {"acoustic.loudness": "loud_tools:Loudness"}, LOUDNESS)
    assert available()["acoustic.loudness"].missing() == ""
    assert words in available()["acoustic.broken"].missing()
    ((place_, message),) = check({"acoustic.broken": {}, "acoustic.loudness": {}, "acoustic.egemaps": {}})
    assert place_ == "acoustic.broken"
    assert words in message
    with pytest.raises(UsageError, match="broken"):
        create("acoustic.broken")


def test_nobody_takes_the_name_of_a_built_in_one(site) -> None:
    install(site, "impostor", {"acoustic.egemaps": "impostor:Egemaps"}, "raise SystemExit")
    assert find("acoustic.egemaps").brought_by == ""
    assert available()["acoustic.egemaps"].brought_by == ""
    assert KIND.discover({"acoustic.egemaps"}).refused == {
        "acoustic.egemaps": "The package impostor offers an extractor acoustic.egemaps, which is the name of a "
        "built-in one."
    }


def test_two_packages_with_one_name_are_both_named(site) -> None:
    install(site, "loud-one", {"acoustic.loudness": "loud_one:Loudness"}, LOUDNESS)
    install(site, "loud-two", {"acoustic.loudness": "loud_two:Loudness"}, LOUDNESS)
    with pytest.raises(UsageError, match="The packages loud-one, loud-two both offer"):
        create("acoustic.loudness")
    assert "acoustic.loudness" not in available()


@pytest.mark.parametrize("name", ["loudness", "sound.loudness", "acoustic.Loud", "acoustic.a.b", "acoustic.a b"])
def test_a_name_must_be_one_that_recipes_take(site, name: str) -> None:
    install(site, "loud-tools", {name: "loud_tools:Loudness"}, LOUDNESS)
    with pytest.raises(UsageError, match="a name is acoustic, visual or text, a dot"):
        find(name)


def test_the_nearest_name_may_be_a_package_s(site) -> None:
    install(site, "loud-tools", {"acoustic.loudness": "loud_tools:Loudness"}, LOUDNESS)
    with pytest.raises(UsageError, match=r"did you mean acoustic\.loudness\?"):
        create("acoustic.loudnes")
