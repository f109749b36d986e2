import math

import pytest
import torch

from cellbench_plugins._ops.diffusion import (
    clean_from_velocity,
    dot_maps,
    image_noise,
    noised,
    sample_clean,
    sampling_times,
    signal_shares,
    velocity,
)


def test_the_noise_grows_as_the_product_written_out():
    shares = signal_shares(1000)
    product, wanted = 1.0, []
    for time in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * time / 999)
        wanted.append(product)
    torch.testing.assert_close(shares, torch.tensor(wanted), rtol=1e-4, atol=1e-7)


def test_a_velocity_gives_the_clean_map_back():
    shares = signal_shares(1000)
    clean, noise = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    for time in (0, 400, 999):
        noisy = noised(clean, noise, shares[time])
        found = clean_from_velocity(noisy, velocity(clean, noise, shares[time]), shares[time])
        torch.testing.assert_close(found, clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 4, 50])
def test_sampling_is_the_walk_of_ddim_pixel_by_pixel(steps):
    shares, times = signal_shares(1000), sampling_times(1000, steps)
    assert times[0] == 999
    assert times == sorted(times, reverse=True)

    def predict(noisy, time):
        return 0.3 * noisy + 1.5 * torch.sin(noisy * (1 + time / 300))

    noise = torch.randn(1, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    found = sample_clean(predict, noise, shares, times)
    for place, start in enumerate(noise.flatten().tolist()):
        x = start
        for index, time in enumerate(times):
            bar = float(shares[time])
            clean = 0.3 * x + 1.5 * math.sin(x * (1 + time / 300))
            clean = min(1.0, max(-1.0, clean))
            noise_left = (x - math.sqrt(bar) * clean) / math.sqrt(1 - bar)
            before = float(shares[times[index + 1]]) if index + 1 < len(times) else 1.0
            x = math.sqrt(before) * clean + math.sqrt(1 - before) * noise_left
        assert float(found.flatten()[place]) == pytest.approx(x, abs=2e-3)


def test_a_denoiser_that_knows_the_map_samples_it():
    clean = torch.sign(torch.randn(1, 1, 5, 5))
    shares = signal_shares(1000)
    found = sample_clean(lambda x, t: clean, torch.randn(1, 1, 5, 5), shares, [999, 499])
    assert found.equal(clean)


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_that_cannot_be_walked_are_refused(steps):
    with pytest.raises(ValueError, match="sampling steps"):
        sampling_times(1000, steps)


def test_an_images_noise_is_its_own_and_always_the_same():
    first = image_noise("a", (2, 3), seed=0)
    assert image_noise("a", (2, 3), seed=0).equal(first)
    assert not image_noise("b", (2, 3), seed=0).equal(first)
    assert not image_noise("a", (2, 3), seed=1).equal(first)


def slow_map(points, rows, columns, stride, sigma):
    found = torch.zeros(rows, columns)
    for row in range(rows):
        for column in range(columns):
            for x, y in points.tolist():
                down, across = row - int(y / stride), column - int(x / stride)
                if max(abs(down), abs(across)) <= 2:
                    height = math.exp(-(down**2 + across**2) / (2 * sigma**2))
                    found[row, column] = max(float(found[row, column]), height)
    return found


def test_dots_are_narrow_as_high_as_one_and_do_not_add_up():
    points = torch.tensor([[0.0, 0.0], [15.9, 9.9], [7.0, 5.0], [7.9, 4.1], [9.0, 5.0]])
    found = dot_maps([points, torch.zeros(0, 2)], (5, 8), stride=2, sigma=0.5)
    torch.testing.assert_close(found[0, 0], slow_map(points, 5, 8, 2, 0.5))
    assert found.max() == 1
    assert not found[1].any()
