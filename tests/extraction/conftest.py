import wave

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe

RATE = 16_000


def write_wav(path, seconds=0.4, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (120 + 20 * seed) * time) * 0.3 + rng.normal(size=len(time)) * 0.01
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((tone * 32767).astype("<i2").tobytes())


@pytest.fixture
def corpus(tmp_path):
    """A folder of nine short clips of sound with a table; the clips' names are clip0.wav and so on."""

    def make(count=9, seconds=0.4):
        root = tmp_path / "corpus"
        lines = ["id,media,split,text,label"]
        for index in range(count):
            split = ("train", "valid", "test")[index % 3]
            write_wav(root / "media" / f"clip{index}.wav", seconds, seed=index)
            lines.append(f"c{index},media/clip{index}.wav,{split},hello,{'joy' if index % 2 else 'anger'}")
        (root / "clips.csv").write_text("\n".join(lines) + "\n")
        return root

    return make


@pytest.fixture
def recipe():
    def make(**changes):
        plain = {"version": 1, "name": "mine", "corpus": {"name": "table"}, "streams": {"acoustic.egemaps": {}}}
        return Recipe.model_validate({**plain, **changes})

    return make


@pytest.fixture
def run(tmp_path):
    """Extract in this process."""

    def extract_here(recipe, root, cache=None, **options):
        opened = store.open(cache or tmp_path / "cache")
        return extract(recipe, root, opened, ExtractionOptions(**{"workers": 1, **options}))

    return extract_here


@pytest.fixture
def content():
    """All that a cache holds, for comparing: features and what failed, by clip and stream."""

    def of(path):
        dataset = store.open(path)["mine"]
        found = {}
        for stream in dataset:
            native, packed = dataset.native(stream), dataset[stream]
            assert list(native) == list(packed)
            for clip in native:
                one, other = native[clip], packed[clip]
                found[stream, clip] = (one.values.tobytes(), one.intervals.tobytes(), other.values.tobytes())
            found |= {(stream, row.clip): row.code for row in dataset.rows(stream) if row.status == "failed"}
        return found

    return of
