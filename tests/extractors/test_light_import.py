"""A host imports what its streams need and nothing else."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mse_pipeline import sample
from mse_pipeline.clip import Clip
from mse_pipeline.extraction.plan import Task, Todo
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.visual.networks import exports
from mse_pipeline.extractors.visual.onnx import contents
from mse_pipeline.recipe import Recipe

# What `extraction.hosts` does in its child.
HOST = """
import json, pickle, sys
task, todo = pickle.load(open(sys.argv[1], "rb"))
from mse_pipeline.child_process import serve
from mse_pipeline.extraction.hosts import _load
made = _load(task)((task, todo), lambda step: None)
print(json.dumps([[row.message for row, _ in made if row.status != "done"], sorted({*sys.modules})]))
"""
MTCNN = {"detector": "mtcnn", "identity": "none"}
NEVER = {"torch", "torchvision", "facenet_pytorch", "transformers", "librosa", "numba", "scipy", "sklearn", "pandas"}
NEVER |= {"matplotlib", "joblib", "h5py", "pyarrow", "onnx", "huggingface_hub"}
OF_FACES = {"onnxruntime", "openvino", "cv2", "PIL"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "clip.mp4"
    sample.build_clip(path, "joy", 4, duration=0.4)
    (path.parent / "words.csv").write_text("id,word,start,end\na,hello,0.0,0.3\n")
    contents(exports())  # which needs torch, once on a machine
    return path


@pytest.mark.parametrize(
    ("streams", "absent"),
    [
        ({"acoustic.egemaps": {}, "visual.mtcnn": MTCNN, "visual.geometry": MTCNN}, NEVER | {"cv2"}),
        ({"acoustic.egemaps": {}}, NEVER | OF_FACES),
        ({"text.word_times": {"path": "words.csv"}}, NEVER | OF_FACES),
    ],
    ids=["sound and faces", "sound", "text"],
)
def test_a_host_imports_only_what_its_streams_need(
    streams: dict[str, Any], absent: set[str], clip: Path, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate({"version": 1, "name": "mine", "corpus": {"name": "table"}, "streams": streams})
    specs = stream_specs(recipe, root=clip.parent)
    task = Task("run", clip.parent, clip.parent, specs, None, "cpu", 60.0)
    todo = Todo(Clip(id="a", split="train", media=clip.name, text="hello"), tuple(streams))
    (tmp_path / "item").write_bytes(pickle.dumps((task, todo)))
    child = subprocess.run([sys.executable, "-c", HOST, str(tmp_path / "item")], capture_output=True, check=True)
    problems, imported = json.loads(child.stdout)
    assert problems == []
    assert absent & set(imported) == set()
