"""Networks written out with plain functions, beside which tests lay ours."""

import torch
import torch.nn.functional as F
from torch import nn


def unsettled(network):
    """The network in evaluation mode, its batch-norms far from the identity."""
    generator = torch.Generator().manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, least in (
                (norm.running_mean, -0.5),
                (norm.running_var, 0.5),
                (norm.weight, 0.5),
                (norm.bias, -0.5),
            ):
                tensor.data.uniform_(least, least + 1, generator=generator)
    return network.eval()


def leaves(network):
    """Its convolutions and batch-norms, in their order."""
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def convolved(x, layer, **options):
    """A convolution that keeps height and width, unless `options` say otherwise."""
    options = {"padding": layer.weight.shape[-1] // 2} | options
    return F.conv2d(x, layer.weight, layer.bias, **options)


def normalised(x, layer):
    """Batch-norm by its running statistics."""
    shift, spread = (layer.running_mean, (layer.running_var + layer.eps).sqrt())
    shift, spread, weight, bias = (
        of_channels[:, None, None] for of_channels in (shift, spread, layer.weight, layer.bias)
    )
    return (x - shift) / spread * weight + bias


def conv_norm_relu(x, *layers):
    """Convolutions, each with batch-norm and ReLU behind it."""
    for conv, norm in zip(layers[::2], layers[1::2], strict=True):
        x = F.relu(normalised(convolved(x, conv), norm))
    return x


def doubled(x):
    """Each place repeated 2 x 2 times."""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
