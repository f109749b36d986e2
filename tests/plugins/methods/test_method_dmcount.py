"""DM-Count: its loss against finite differences and an exact solver, its size against the facts."""

from itertools import pairwise

import ot
import pytest
import torch

from cellbench.config.sources import config_folders, load_file
from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.build import build_counter
from cellbench.models.parts import DensityOutput, FeatureShape
from cellbench_plugins._ops.lattice import lattice
from cellbench_plugins.methods.dmcount import DMCountLoss, UpsampledConvs
from cellbench_plugins.targets.gaussian import GaussianDensity

CONFIGS = config_folders()[-1] / "methods"


def case(points, density, width, height, stride=8):
    """What a loss is given for images of one size: output, dots, valid cells, batch."""
    sizes = torch.tensor([[width, height]]).expand(len(points), 2)
    grid = tuple(density.shape[-2:])
    images = Images(
        torch.zeros(len(points), 3, stride * grid[0], stride * grid[1]),
        sizes,
        1.0,
        [str(index) for index in range(len(points))],
    )
    dots = GaussianDensity(sigma=0.01).make(points, sizes, grid, stride=stride, scale=1.0)
    rows = torch.arange(grid[0])[:, None] * stride < height
    columns = torch.arange(grid[1]) * stride < width
    valid = (rows & columns).expand(len(points), 1, *grid)
    output = DensityOutput(density, density, stride)
    return output, dots, valid, Batch(images, points)


def total(terms):
    return sum(terms.values())


def test_the_transport_term_pulls_as_finite_differences_of_the_exact_cost_do():
    torch.manual_seed(0)
    points = [torch.rand(6, 2) * torch.tensor([40.0, 24.0])]
    density = torch.rand(1, 1, 3, 5) ** 2 + 0.05
    loss = DMCountLoss(count_weight=0, variation_weight=0, transport_weight=1, eps=0.05)
    variable = density.clone().requires_grad_()
    total(loss(*case(points, variable, 40, 24))).backward()

    cost = torch.cdist(points[0], lattice((3, 5), 8, torch.device("cpu"))).square().double().numpy()

    def exact(values):
        share = values.double().flatten()
        share = share / share.sum()
        even = torch.full((6,), 1 / 6, dtype=torch.float64)
        return ot.emd2(even.numpy(), share.numpy(), cost)

    for row, column in ((0, 0), (1, 3), (2, 4)):
        more, less = density.clone(), density.clone()
        more[0, 0, row, column] += 1e-3
        less[0, 0, row, column] -= 1e-3
        slope = (exact(more) - exact(less)) / 2e-3
        assert float(variable.grad[0, 0, row, column]) == pytest.approx(slope, rel=0.05, abs=0.3)


def test_descending_the_loss_moves_the_map_onto_the_dots():
    points = [torch.tensor([[4.0, 4.0], [36.0, 20.0], [36.5, 20.0]])]
    raw = torch.full((1, 1, 3, 5), -1.0, requires_grad=True)
    optimiser = torch.optim.SGD([raw], lr=0.5)
    loss = DMCountLoss(transport_weight=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        total(loss(*case(points, torch.nn.functional.softplus(raw), 40, 24))).backward()
        optimiser.step()
    density = torch.nn.functional.softplus(raw.detach())[0, 0]
    assert float(density.sum()) == pytest.approx(3, abs=0.3)
    # two of 15 places, which began with an even share
    assert float((density[0, 0] + density[2, 4]) / density.sum()) > 0.7
    assert float(density[2, 4]) > 1.5 * float(density[0, 0])


def test_a_map_that_is_the_dots_has_no_loss():
    points = [torch.tensor([[12.0, 4.0], [28.0, 20.0]])]
    output, dots, valid, batch = case(points, torch.zeros(1, 1, 3, 5), 40, 24)
    output.density = dots.clone()
    terms = DMCountLoss()(output, dots, valid, batch)
    assert all(abs(float(term)) < 1e-4 for term in terms.values())


def test_count_and_distance_are_the_papers_averaged_over_the_images():
    torch.manual_seed(0)
    points = [torch.rand(5, 2) * 32, torch.rand(2, 2) * 32]
    density = torch.rand(2, 1, 4, 4)
    terms = DMCountLoss(count_weight=1, variation_weight=0.01)(*case(points, density, 32, 32))
    count = distance = 0.0
    for own, places in zip(density[:, 0], points, strict=True):
        dots = torch.zeros(4, 4)
        for x, y in places:
            dots[int(y // 8), int(x // 8)] += 1
        count += abs(float(own.sum()) - len(places)) / 2
        unlike = (own / own.sum() - dots / len(places)).abs().sum()
        distance += 0.01 * len(places) * float(unlike) / 2
    assert float(terms["loss_count"]) == pytest.approx(count, rel=1e-5)
    assert float(terms["loss_variation"]) == pytest.approx(distance, rel=1e-5)


def test_padding_pulls_nothing_and_changes_nothing():
    torch.manual_seed(1)
    points = [torch.rand(5, 2) * 24, torch.rand(3, 2) * 24]
    density = torch.rand(2, 1, 3, 3) + 0.1
    padded = torch.full((2, 1, 5, 4), 7.0)
    padded[..., :3, :3] = density
    gradients = []
    for given in (density, padded):
        variable = given.clone().requires_grad_()
        terms = DMCountLoss()(*case(points, variable, 24, 24))
        total(terms).backward()
        gradients.append((variable.grad, [float(term.detach()) for term in terms.values()]))
    (plain, first), (wide, second) = gradients
    # the transport is solved to a violation of 1e-3
    torch.testing.assert_close(wide[..., :3, :3], plain, atol=1e-2, rtol=1e-3)
    assert not wide[..., 3:, :].any()
    assert not wide[..., :, 3:].any()
    assert second == pytest.approx(first, abs=1e-3)


def test_images_without_cells_are_only_counted():
    density = torch.rand(2, 1, 4, 4, requires_grad=True)
    points = [torch.zeros(0, 2), torch.rand(4, 2) * 32]
    terms = DMCountLoss()(*case(points, density, 32, 32))
    total(terms).backward()
    torch.testing.assert_close(density.grad[0], torch.full((1, 4, 4), 0.5))
    assert torch.isfinite(density.grad).all()


def test_a_batch_without_images_loses_nothing():
    density = torch.zeros(0, 1, 4, 4)
    terms = DMCountLoss()(*case([], density, 32, 32))
    assert len(terms) == 3
    assert float(total(terms)) == 0


def test_a_dead_map_has_a_finite_loss():
    density = torch.zeros(1, 1, 4, 4, requires_grad=True)
    terms = DMCountLoss()(*case([torch.rand(4, 2) * 32], density, 32, 32))
    total(terms).backward()
    assert torch.isfinite(density.grad).all()


def test_the_weight_of_an_image_does_not_depend_on_its_batch():
    torch.manual_seed(2)
    points = [torch.rand(5, 2) * 32]
    density = torch.rand(1, 1, 4, 4)
    alone, twice = density.clone().requires_grad_(), density.repeat(2, 1, 1, 1).requires_grad_()
    total(DMCountLoss()(*case(points, alone, 32, 32))).backward()
    total(DMCountLoss()(*case(points * 2, twice, 32, 32))).backward()
    torch.testing.assert_close(2 * twice.grad[0], alone.grad[0])


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("dmcount", ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))),
        ("dmcount_published", ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))),
    ],
)
def test_it_has_the_parameters_of_its_layers(name, stages):
    made = build_counter(load_file(CONFIGS / f"{name}.py")["model"], load_weights=False)
    channels = [3] + [width for width, times in stages for _ in range(times)] + [256, 128]
    layers = sum(9 * a * b + b for a, b in pairwise(channels))
    assert sum(p.numel() for p in made.parameters()) == layers + 128 + 1


def test_the_map_has_twice_the_resolution_of_the_trunk():
    decoder = UpsampledConvs([FeatureShape(8, 16)], None)
    assert decoder.shape == FeatureShape(128, 8)
    assert decoder([torch.rand(1, 8, 3, 5)]).shape == (1, 128, 6, 10)
    with pytest.raises(PartError, match="take a coarser one"):
        UpsampledConvs([FeatureShape(8, 1)], None)
