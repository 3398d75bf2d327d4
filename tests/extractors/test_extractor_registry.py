"""The registry: names and options are checked without loading anything heavy, and errors name the nearest."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from mse_pipeline import extractors
from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.registry import available, check, create

READY = sorted(stream for stream in available() if not check({stream: None}))
"""Those that need no option, such as a model."""
NEEDS_A_MODEL = sorted(stream for stream, entry in available().items() if entry.dim is None)


@pytest.mark.parametrize("stream", READY)
def test_what_the_registry_tells_is_what_the_extractor_makes(stream: str) -> None:
    entry, extractor = available()[stream], create(stream)
    assert extractor.stream == stream
    assert len(extractor.names) == len(set(extractor.names)) == entry.dim
    assert len(extractor.units) == len(extractor.definitions) == entry.dim
    assert entry.summary
    assert entry.licence


@pytest.mark.parametrize("stream", NEEDS_A_MODEL)
def test_an_extractor_of_any_model_asks_for_one(stream: str) -> None:
    assert [path for path, _ in check({stream: None})] == [f"{stream}.model"]
    assert create(stream, {"model": "some/model"}).stream == stream
    assert "option `model`" in available()[stream].needs


@pytest.mark.parametrize(
    "stream", ["acoustic.egemaps", "acoustic.opensmile", "acoustic.librosa", "visual.mtcnn", "visual.geometry"]
)
def test_identity_is_plain_json_and_repeats(stream: str) -> None:
    identity = create(stream).identity()
    assert set(identity) == {"stream", "revision", "config", "model"}
    assert identity["stream"] == stream
    assert json.loads(json.dumps(identity)) == identity == create(stream).identity()


@pytest.mark.parametrize(
    ("stream", "options"),
    [("acoustic.librosa", {"hop_length": 256}), ("visual.mtcnn", {"rate": 3}), ("visual.mtcnn", {"min_face_size": 30})],
)
def test_another_option_is_another_identity(stream: str, options: dict) -> None:
    assert create(stream, options).identity() != create(stream).identity()


def test_an_option_written_another_way_is_the_same_identity() -> None:
    one = create("visual.mtcnn", {"rate": 5, "thresholds": [0.6, 0.7, 0.7]})
    assert one.identity() == create("visual.mtcnn").identity()
    assert one.face == create("visual.facenet").face
    assert hash(one.face) == hash(create("visual.facenet").face)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ("acoustic.egemap", "did you mean acoustic.egemaps?"),
        ("visual.mtcn", "did you mean visual.mtcnn?"),
        ("zzz", "there is acoustic.egemaps, acoustic.emotion2vec, "),
    ],
)
def test_an_unknown_extractor_is_a_usage_error_with_the_nearest(stream: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        create(stream)
    assert words in str(caught.value)


def test_all_wrong_options_are_told_at_once() -> None:
    problems = check(
        {
            "acoustic.librosa": {"hop_lenght": 256, "n_fft": "many", "n_mfcc": 0},
            "acoustic.egemaps": None,
            "visual.mtcnn": {"thresholds": [0.6, 2.0, 0.7], "policy": "smallest"},
            "visual.facenet": ["rate"],
            "video": {},
        }
    )
    told = dict(problems)
    assert told["acoustic.librosa.hop_lenght"] == "There is no such option; did you mean hop_length?"
    assert "got 'many'" in told["acoustic.librosa.n_fft"]
    assert "acoustic.librosa.n_mfcc" in told
    assert "visual.mtcnn.thresholds.1" in told
    assert "visual.mtcnn.policy" in told
    assert "names with values" in told["visual.facenet"]
    assert "There is no extractor video" in told["video"]
    assert len(problems) == 7


def test_create_tells_all_wrong_options_in_one_error() -> None:
    with pytest.raises(UsageError) as caught:
        create("acoustic.librosa", {"hop": 1, "n_mfcc": -1})
    assert "acoustic.librosa.hop:" in str(caught.value)
    assert "acoustic.librosa.n_mfcc:" in str(caught.value)


def test_an_option_without_any_likeness_lists_what_there_is() -> None:
    assert check({"acoustic.egemaps": {"xyz": 1}}) == [
        ("acoustic.egemaps.xyz", "There is no such option; there is version.")
    ]


def test_an_extractor_says_what_keeps_it_from_running(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MSE_MODELS", str(tmp_path))
    facenet = available()["visual.facenet"]
    assert facenet.missing() == f"{facenet.file} is not in {tmp_path}; it is downloaded at the first use."
    (tmp_path / facenet.file).touch()
    assert facenet.missing() == ""
    absent = replace(facenet, packages=("torch", "no_such_module"))
    assert absent.missing() == "Not installed: pip install no-such-module"


def test_the_package_hands_out_the_registry_and_nothing_else() -> None:
    assert extractors.create("acoustic.egemaps").name == "egemaps"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        extractors.nothing  # noqa: B018


def test_checking_and_creating_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from mse_pipeline import extractors\n"
        "assert 'pydantic' not in sys.modules\n"
        "extractors.check({s: {'x': 1} for s in extractors.available()})\n"
        "ready = [s for s in extractors.available() if not extractors.check({s: None})]\n"
        "[extractors.create(s) for s in ready]\n"
        "extractors.create('visual.mtcnn').identity()\n"
        "print(sorted({'torch', 'librosa', 'opensmile', 'av', 'facenet_pytorch', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
