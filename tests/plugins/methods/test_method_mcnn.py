"""MCNN: three columns, counted from the paper's table of layers."""

import torch

from cellbench.config.sources import find_config, load_file
from cellbench.models.build import build_counter
from cellbench_plugins.methods.mcnn import MCNNColumns

# edge of the kernel, inputs, outputs
LAYERS = [
    (9, 3, 16), (7, 16, 32), (7, 32, 16), (7, 16, 8),
    (7, 3, 20), (5, 20, 40), (5, 40, 20), (5, 20, 10),
    (5, 3, 24), (3, 24, 48), (3, 48, 24), (3, 24, 12),
]  # fmt: skip


def made(name):
    return build_counter(load_file(find_config(f"methods/{name}.py"))["model"])


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_published_one_has_as_many_parameters_as_its_layers():
    kernels = sum(edge**2 * inputs * outputs + outputs for edge, inputs, outputs in LAYERS)
    assert kernels == 133_674
    assert parameters(made("mcnn_published")) == kernels + 30 + 1


def test_batch_norm_puts_two_numbers_in_the_place_of_each_bias():
    biases = sum(outputs for *_, outputs in LAYERS)
    assert parameters(made("mcnn")) == 133_674 + biases + 30 + 1


def test_the_columns_see_as_far_as_their_kernels_reach():
    """Three windows of different width, in the 30 channels in the order of the columns."""
    columns = MCNNColumns(batch_norm=False).eval()
    for parameter in columns.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    pixels = torch.zeros(1, 3, 96, 96, requires_grad=True)
    (features,) = columns(pixels)
    assert features.shape == (1, 30, 24, 24)
    # 9, pool, 7 and pool at stride 2, 7 and 7 at stride 4: and so on for the other two
    for channels, kernels in (
        ((0, 8), (9, 7, 7, 7)),
        ((8, 18), (7, 5, 5, 5)),
        ((18, 30), (5, 3, 3, 3)),
    ):
        reach = kernels[0] + 1 + 2 * (kernels[1] - 1) + 2 + 4 * (kernels[2] + kernels[3] - 2)
        (gradient,) = torch.autograd.grad(
            features[0, slice(*channels), 12, 12].sum(), pixels, retain_graph=True
        )
        rows = gradient[0, 0].abs().sum(dim=1).nonzero().squeeze(1)
        # of equal places a max-pool lets only the first learn, so that the window may lack its end
        assert reach - 6 <= int(rows[-1] - rows[0]) + 1 <= reach
