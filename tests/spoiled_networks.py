"""Networks that a CUDA graph cannot hold, for tests with and without a GPU."""

from torch import nn


class Between(nn.Module):
    """Does something with a map at each pass from its `first` on, and hands it on."""

    def __init__(self, readout, first, do):
        super().__init__()
        self.readout, self.first, self.do = readout, first, do
        self.stride, self.scale = readout.stride, readout.scale
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        x = x if self.passes <= self.first else self.do(self, x)
        return self.readout(x)


def reading(module, x):
    float(x.detach().sum())
    return x


def counting(module, x):
    return x * module.passes


def broken(module, x):
    raise ValueError("of the network itself")
