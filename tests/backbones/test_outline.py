"""The outline of a backbone: the same tokenizer and sizes as the loaded one, and no weight."""

from __future__ import annotations

import json

import pytest

from mse_pipeline import backbones
from mse_pipeline.backbones.loading import outline
from mse_pipeline.errors import UsageError
from tests.backbones import original_checkpoints


def sizes(backbone):
    return {name: (tuple(one.shape), one.dtype) for name, one in backbone.model.named_parameters()}


@pytest.fixture(scope="module", params=["tiny", "qwen1", "chatglm3", "stories"])
def name(request, tmp_path_factory):
    if request.param == "tiny":
        return "tiny"
    if request.param == "stories":
        return str(request.getfixturevalue("shared") / "models" / "stories260K")
    folder = tmp_path_factory.mktemp("outline") / request.param
    {"qwen1": original_checkpoints.qwen, "chatglm3": original_checkpoints.chatglm}[request.param](folder)
    return str(folder)


def test_it_has_the_sizes_and_the_tokenizer_of_the_loaded_backbone(name):
    drawn, loaded = outline(name, "bfloat16"), backbones.load(name, "bfloat16")
    assert sizes(drawn) == sizes(loaded)
    assert {one.device.type for one in drawn.model.parameters()} == {"meta"}
    assert (drawn.name, drawn.source, drawn.revision) == (loaded.name, loaded.source, loaded.revision)
    assert (drawn.family, drawn.hidden_size) == (loaded.family, loaded.hidden_size)
    assert drawn.tokenizer("Fine, 0.")["input_ids"] == loaded.tokenizer("Fine, 0.")["input_ids"]


def test_the_weights_need_not_be_there(tmp_path):
    folder = tmp_path / "qwen1"
    original_checkpoints.qwen(folder)
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        path.unlink()
    assert outline(folder).family == "qwen2"
    with pytest.raises(UsageError, match="no weights"):
        backbones.load(folder)


def test_a_configuration_of_a_million_layers_is_refused(tmp_path, shared):
    source = shared / "models" / "stories260K"
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**6}))
    with pytest.raises(UsageError, match="1000000 layers"):
        outline(tmp_path)


def test_an_unknown_quantization_is_refused():
    with pytest.raises(UsageError, match="4bit, 8bit"):
        outline("tiny", quantization="2bit")
