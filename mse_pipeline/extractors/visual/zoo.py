"""Zoo: YuNet and SFace, of OpenCV's model zoo, as networks of `onnx.Session`.

Their weights were published as blocks of int8, each with its scale. No library but OpenCV reads both, and not each
version of it. They are computed in float32 in any case, so that the weights are unpacked once on a machine, and the
networks then run where all others do, in less than half of OpenCV's time.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mse_pipeline.extractors.visual.onnx import Export
from mse_pipeline.extractors.visual.weights import SFACE, YUNET, Released, fetched

STRIDES = (8, 16, 32)
"""Pixels of the frame from one place of YuNet's three maps to the next."""

YUNET_OUTPUTS = tuple(f"{what}_{stride}" for what in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
"""How sure YuNet is of a class and of an object, boxes and landmarks, each of all places of a map."""


def yunet() -> Export:
    """YuNet, for frames whose height and width are multiples of 32."""
    return Export(
        "yunet", YUNET.sha256, functools.partial(_unpacked, YUNET, YUNET_OUTPUTS, True), YUNET_OUTPUTS, any_size=True
    )


def sface() -> Export:
    """SFace, for pictures of 112 x 112 pixels."""
    return Export("sface", SFACE.sha256, functools.partial(_unpacked, SFACE, ("fc1",), False), ("fc1",))


def _unpacked(released: Released, outputs: tuple[str, ...], blue_first: bool) -> bytes:
    """Released weights, downloaded if they are missing, as an ONNX file of float32 that takes `Export`'s pictures.

    Args:
        released: The weights.
        outputs: Names of the outputs.
        blue_first: Whether the network wants blue, green, red.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(fetched(released))
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if all(name in constants for name in node.input):
            constants[str(node.output[0])] = _computed(node, constants, model)
        else:
            nodes.append(node)
    pixels = next(node for node in nodes if graph.input[0].name in node.input)
    if blue_first:
        weights = numpy_helper.to_array(constants[pixels.input[1]])[:, ::-1]
        constants[pixels.input[1]] = numpy_helper.from_array(np.ascontiguousarray(weights), pixels.input[1])
    first = [
        helper.make_node("Cast", ["pictures"], ["pictures_as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pictures_as_float"], [graph.input[0].name], perm=[0, 3, 1, 2]),
    ]
    used = {name for node in nodes for name in node.input}
    made = helper.make_graph(
        [*first, *nodes],
        released.file,
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", "height", "width", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [tensor for name, tensor in constants.items() if name in used],
    )
    whole = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(whole.SerializeToString())


def _computed(node: Any, constants: dict[str, Any], model: Any) -> Any:
    """The output of a node that depends on constants alone."""
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    name = str(node.output[0])
    output = helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
    given = [constants[str(one)] for one in node.input]
    graph = helper.make_graph([node], name, [], [output], given)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    values: Any = ReferenceEvaluator(alone).run(None, {})
    return numpy_helper.from_array(np.asarray(values[0]), name)
