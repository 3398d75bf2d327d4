"""Hosts get their networks without torchvision's import, and the same numbers."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from mse_pipeline.extractors.visual import networks as light_import


@pytest.mark.slow
def test_neither_detector_nor_embedder_nor_nms_imports_torchvision():
    program = (
        "import sys\n"
        "from mse_pipeline.extractors.visual import networks as light_import\n"
        "from mse_pipeline.extractors.visual.networks import load_networks\n"
        "load_networks('cpu'), light_import.inception_resnet_class(), light_import.nms()\n"
        "print(sorted({'torchvision', 'facenet_pytorch', 'torch._dynamo'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_networks_are_those_of_facenet_pytorch():
    import facenet_pytorch
    from facenet_pytorch.models import mtcnn

    from mse_pipeline.extractors.visual.networks import SIDES, load_networks

    networks = load_networks("cpu")
    for name, theirs in zip(SIDES, (mtcnn.PNet(), mtcnn.RNet(), mtcnn.ONet()), strict=True):
        pictures = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (2, 3, SIDES[name], SIDES[name]), np.uint8)
        )
        with torch.inference_mode():
            wanted = theirs.eval()((pictures.float() - 127.5) / 128)
        for mine, other in zip(networks.run(name, pictures), wanted, strict=True):
            torch.testing.assert_close(mine, other)
    ours = light_import.inception_resnet_class()().state_dict()
    other = facenet_pytorch.InceptionResnetV1().state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in other.items()}


def test_nms_keeps_the_more_probable_of_two_that_overlap():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]])
    assert light_import.nms()(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5).tolist() == [1, 2]
