"""ONNX symbolics of operators that PyTorch's exporter does not support."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

OPSET = 19
"""First ONNX opset with a deformable convolution."""


@contextmanager
def operators_known() -> Iterator[None]:
    """Register the operators of this module with the exporter within a context."""
    from torch.onnx import register_custom_op_symbolic, unregister_custom_op_symbolic

    for name, symbol in _SYMBOLS.items():
        register_custom_op_symbolic(name, symbol, OPSET)
    try:
        yield
    finally:
        for name in _SYMBOLS:
            unregister_custom_op_symbolic(name, OPSET)


def _deformed(
    graph: Any,
    x: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
    *numbers: Any,
) -> Any:
    """Translate `torchvision.ops.deform_conv2d`; ONNX takes its inputs in another order."""
    from torch.onnx import symbolic_helper

    stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, groups, offset_groups = (
        symbolic_helper._get_const(number, "i", "number") for number in numbers[:8]
    )
    return graph.op(
        "DeformConv",
        x,
        weight,
        offset,
        bias,
        mask,
        kernel_shape_i=list(weight.type().sizes()[2:]),
        pads_i=[pad_y, pad_x, pad_y, pad_x],
        strides_i=[stride_y, stride_x],
        dilations_i=[dilation_y, dilation_x],
        group_i=groups,
        offset_group_i=offset_groups,
    )


_SYMBOLS = {"torchvision::deform_conv2d": _deformed}
