"""mse selftest: nothing differs here, and what differs elsewhere is named."""

import numpy as np
import pytest
import torch

from mse_pipeline import selftest
from mse_pipeline.extractors.acoustic import vad
from tests.cli.conftest import mse  # noqa: F401


@pytest.fixture
def only(monkeypatch):
    """Compare some streams alone."""

    def choose(*streams):
        monkeypatch.setattr(selftest, "STREAMS", {name: selftest.STREAMS[name] for name in streams})

    return choose


def test_features_come_out_here_as_they_are_stored(mse, only):  # noqa: F811
    only("acoustic.egemaps", "acoustic.vad", "visual.mtcnn")
    told = mse("selftest", "--json")
    assert (told.code, told.json["ok"]) == (0, True)
    for finding in told.json["findings"]:
        assert finding["values"] > 100
        assert finding["differ"] <= finding["bound"]["share"]


@pytest.mark.slow
def test_all_streams_come_out_here_as_they_are_stored(mse):  # noqa: F811
    told = mse("selftest")
    assert (told.code, told.out.splitlines()[-1]) == (0, "Features come out here as they do elsewhere.")
    assert told.out.count("ok ") == len(selftest.STREAMS)


def test_a_changed_weight_file_is_named(mse, only, tmp_path, monkeypatch):  # noqa: F811
    network = torch.jit.load(str(vad.weights_file()), "cpu")
    with torch.no_grad():
        next(weight for name, weight in network.named_parameters() if "rnn.weight_ih" in name).mul_(1.5)
    torch.jit.save(network, str(tmp_path / "changed.jit"))
    monkeypatch.setattr(vad, "weights_file", lambda: tmp_path / "changed.jit")
    only("acoustic.egemaps", "acoustic.vad")
    told = mse("selftest")
    assert told.code == 1
    lines = told.out.splitlines()
    assert lines[0].startswith("ok       acoustic.egemaps: at most 0 deviations off, none beyond it (bound 0.01")
    assert lines[1].startswith("differs  acoustic.vad: at most ")
    assert ". Its weights are others: their digest is" in lines[1]
    assert lines[1].endswith("anew: pip install --force-reinstall --no-deps silero-vad")
    assert lines[-1] == "Not as elsewhere: acoustic.vad."


GOLDEN = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, np.nan]], np.float32)


@pytest.mark.parametrize(
    ("change", "differ", "ok"),
    [
        (lambda values: values, 0.0, True),
        (lambda values: values + np.float32(1e-4), 0.0, True),
        (lambda values: values * [1.5, 1.0], 2 / 6, False),
        (lambda values: np.where(np.isnan(values), 0, values), 1 / 6, False),  # defined there, not here
        (lambda values: values[:2], 1 / 6, False),  # a row less
    ],
)
def test_what_differs_is_counted(change, differ, ok):
    bound = selftest.Bound(0.01, 0.0)
    arrays = {"a.x/joy/values": GOLDEN, "a.x/joy/valid": np.ones(3, bool)}
    golden = selftest._Golden(arrays, {"a.x": {"names": ["f", "g"], "model": None}})
    values = np.float32(change(GOLDEN))
    rows = np.stack([np.arange(len(values)), np.arange(len(values)) + 1], 1)
    made = {"joy": selftest.Features(values, rows, np.ones(len(values), bool), ("f", "g"))}
    finding = selftest._compare("a.x", made, golden, bound, "")
    assert (finding.differ, finding.ok) == (pytest.approx(differ), ok)


def test_a_stream_that_fails_is_told_with_its_reason(mse, only, monkeypatch):  # noqa: F811
    monkeypatch.setattr(selftest, "_make", lambda spec: dict.fromkeys(selftest.CLIPS, "joy: no such library"))
    only("acoustic.vad")
    told = mse("selftest")
    assert (told.code, "differs  acoustic.vad: joy: no such library" in told.out) == (1, True)
