"""What every counter owes a GPU: its step and its counting fit CUDA's autocast in bfloat16.

CUDA's autocast casts other operators than the CPU's, so that a step that runs on a CPU may stop on
a GPU where two number formats meet. Here each counter's step (forward, loss, backward) and `infer`
are run on fake CUDA tensors (see `cellbench.testing.fake_cuda`), which need no GPU. A loss must not
read numbers from the device either, where the host would wait for all that was asked of the GPU
before.
"""

from functools import partial

import pytest
import torch
from counter_cases import DECODER_CASES, STEPPED, DecoderCase, built_in, case

from cellbench.config.sources import config_folders, load_file
from cellbench.models.batch import Batch
from cellbench.models.build import build_counter
from cellbench.models.counter import total_loss
from cellbench.models.density_counter import DensityCounter
from cellbench.models.point_counter import PointCounter
from cellbench.registry import CONVS, COUNTERS, DECODERS, HEADS, MATCHERS
from cellbench.testing.cuda_types import check_cuda_inference, check_cuda_step
from cellbench.testing.fake_cuda import (
    DEVICE,
    READS,
    HostTensors,
    backward,
    cuda_autocast,
    fake_cuda,
)
from cellbench.testing.samples import CounterCase, picture
from cellbench_plugins._ops.sinkhorn import Transport
from cellbench_plugins.methods import dmcount
from cellbench_plugins.methods.cellpose import Cellpose
from cellbench_plugins.methods.stardist import StarDist

BOXES = "torchvision's two stages choose boxes by number: how many there are is in the numbers"
BLOCKS = "which blocks hold a pixel of their image, and which transitions are kept, are numbers"
PEAKS = "how many peaks or pixels go on to the host's part is in the numbers"

# What reads numbers of the device, by config and step, and why it cannot do without.
READERS = {
    ("fasterrcnn", "loss"): BOXES,
    ("fasterrcnn", "infer"): BOXES,
    ("fasterrcnn_resnet50", "loss"): BOXES,
    ("fasterrcnn_resnet50", "infer"): BOXES,
    ("libranet", "loss"): BLOCKS,
    ("libranet", "infer"): BLOCKS,
    ("cellpose", "infer"): PEAKS,
    ("cellpose_published", "infer"): PEAKS,
    ("diffusedenoise", "infer"): PEAKS,
    ("stardist", "infer"): PEAKS,
    ("stardist_published", "infer"): PEAKS,
}


@pytest.fixture(autouse=True)
def known_targets(monkeypatch):
    """Stand-ins for what makes targets of numbers alone, without the network.

    Sinkhorn's iterations end by what they reach, and discs of pixels are as wide as their numbers
    say; their own tests run them. Each answers with the shapes and formats of the original.
    """

    def sinkhorn(cost, rows, columns, **options):
        return Transport(rows.double(), columns.double(), rows.double().sum(1))

    def flows(self, points, size, scale):
        shape = (size[1], size[0])
        made = points[0].new_zeros(len(points), 2, *shape)
        return made, points[0].new_zeros(len(points), *shape).long()

    def stars(self, points, size, scale):
        width, height = size
        return points.new_zeros(height, width), points.new_zeros(self.rays, height, width)

    monkeypatch.setattr(dmcount, "sinkhorn", sinkhorn)
    monkeypatch.setattr(Cellpose, "targets", flows)
    monkeypatch.setattr(StarDist, "targets", stars)


CHECKS = {"loss": check_cuda_step, "infer": check_cuda_inference}


@pytest.mark.parametrize("step", CHECKS)
@pytest.mark.parametrize("path", STEPPED, ids=lambda path: path.stem)
def test_a_counter_runs_as_cudas_autocast_types_it(path, step):
    check = partial(CHECKS[step], case(path))
    if (path.stem, step) in READERS:
        with pytest.raises(READS):  # one that would pass is not to be listed
            check()
    else:
        check()


def test_no_point_or_density_counter_is_a_reader():
    kinds = {path.stem: COUNTERS.get(load_file(path)["model"]["type"]) for path in STEPPED}
    readers = {stem for stem, _ in READERS}
    assert readers <= set(kinds)
    assert not [s for s in readers if issubclass(kinds[s], PointCounter | DensityCounter)]


DLA = load_file(config_folders()[-1] / "methods" / "dla.py")["model"]


def swapped():
    """DLA with each other part in the place of its own: (part, model)."""
    for role, registry in (("matcher", MATCHERS), ("head", HEADS)):
        for name in built_in(registry):
            yield name, {**DLA, role: {"type": name}}
    for name in built_in(CONVS):
        yield name, {**DLA, "decoder": {**DLA["decoder"], "conv": {"type": name}}}
    for name in built_in(DECODERS):
        made = DECODER_CASES.get(name, DecoderCase())
        strides = {"strides": list(made.strides)}
        head = {"type": "PointHead", "spacing_px": made.spacing_px, "channels": 16}
        decoder = {"type": name, **made.options}
        model = {**DLA, "backbone": {**DLA["backbone"], **strides}, "head": head}
        yield name, {**model, "decoder": decoder}


OWN = {DLA["matcher"]["type"], DLA["head"]["type"], DLA["decoder"]["type"]}
OWN.add(DLA["decoder"]["conv"]["type"])
OTHERS = [pytest.param(model, id=part) for part, model in swapped() if part not in OWN]


@pytest.mark.parametrize("model", OTHERS)
def test_dla_with_any_other_part_runs_as_cudas_autocast_types_it(model):
    check_cuda_step(CounterCase("DLA", model))
    check_cuda_inference(CounterCase("DLA", model))


def test_formats_that_meet_and_numbers_that_are_read_are_errors():
    with fake_cuda(), cuda_autocast():
        x = torch.empty(2, 2, device=DEVICE)
        product = x @ x
        assert product.dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="dtype"):
            torch.lerp(x, product, product)
        with pytest.raises(RuntimeError, match="device"):
            x + torch.empty(2, 2)
        for read in (bool, float, torch.nonzero, lambda one: one[one > 0]):
            with pytest.raises(READS):
                read(x[0, :1])
        with pytest.raises(TypeError, match="host first"):
            x.numpy()
        for values in ([1.0, 2.0], 1.0):
            with HostTensors() as made:
                torch.tensor(values, device=DEVICE)
            assert made.seen
    assert torch.ones(2).tolist() == [1.0, 1.0]  # and nothing of it stays


def test_the_gradients_are_those_of_pytorchs_engine():
    torch.manual_seed(0)
    counter = build_counter(
        {**DLA, "dropout": 0.0} if "dropout" in DLA else DLA, load_weights=False
    )
    pixels, points = picture(32, 32)
    images = counter.data_preprocessor.images([pixels], scale=1.0, image_ids=["0"])
    batch = Batch(images, [torch.from_numpy(points)])
    found = []
    for engine in (backward, torch.Tensor.backward):
        counter.zero_grad(set_to_none=True)
        engine(total_loss(counter.loss(batch)))
        found.append({n: p.grad for n, p in counter.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-6)
