import numpy as np
import pytest

from cellbench.data.contracts import SimulatedImage, Simulator
from cellbench.data.set_damage import verify_set
from cellbench.data.simulated import simulate_set
from cellbench.data.stored_set import is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.registry import SIMULATORS


class ToySim(Simulator):
    """Twelve noisy pictures; counts how often it draws."""

    name = "toy-sim"
    title = "Toy"
    images = 12
    stands_for = "adi"
    version = 0
    drawn: list[int] = []  # noqa: RUF012

    def draw(self, index, *, seed=0):
        self.drawn.append(index)
        rng = np.random.default_rng((seed, index, self.version))
        pixels = rng.integers(0, 256, (10, 14, 3), dtype=np.uint8)
        points = rng.uniform(0, 10, (index, 2)).astype(np.float32)
        return SimulatedImage(pixels, points, part="test" if index % 2 else "train")


@pytest.fixture
def toy(home, monkeypatch):
    monkeypatch.setitem(SIMULATORS._module_dict, "toy-sim", ToySim)
    monkeypatch.setattr(ToySim, "drawn", [])
    return ToySim


def test_a_drawn_set_holds_exactly_what_was_drawn(toy):
    seen = []
    stored = simulate_set("toy-sim", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 12) for i in range(1, 13)]
    assert sorted(toy.drawn) == list(range(12))
    assert stored.ids == [f"{i:04d}" for i in range(12)]
    for index, name in enumerate(stored.ids):
        drawn = ToySim().draw(index)
        np.testing.assert_array_equal(stored.pixels(name), drawn.pixels)
        np.testing.assert_array_equal(stored.sample(name).points, drawn.points)
        assert stored.part(name) == drawn.part
    assert stored.simulated
    assert stored.stands_for == "adi"
    assert verify_set(stored) == []


def test_a_second_call_opens_what_is_there(toy):
    first = simulate_set("toy-sim")
    toy.drawn.clear()
    assert simulate_set("toy-sim").manifest_hash == first.manifest_hash
    assert toy.drawn == [0]


def test_what_an_older_simulator_drew_is_replaced(toy, monkeypatch):
    first = simulate_set("toy-sim")
    monkeypatch.setattr(ToySim, "version", 1)
    second = simulate_set("toy-sim")
    assert second.manifest_hash != first.manifest_hash
    assert open_set("toy-sim").manifest_hash == second.manifest_hash


def test_a_damaged_drawn_set_is_drawn_again(toy):
    stored = simulate_set("toy-sim")
    (stored.folder / "manifest.json").write_text("{")
    assert simulate_set("toy-sim").manifest_hash == stored.manifest_hash


def test_another_seed_is_another_set_beside(toy):
    sets = [simulate_set("toy-sim", seed=seed) for seed in (0, 1)]
    assert [s.name for s in sets] == ["toy-sim", "toy-sim-1"]
    assert sets[0].manifest_hash != sets[1].manifest_hash
    assert sets[1].manifest.seed == 1


def test_a_failing_simulator_leaves_nothing(toy, monkeypatch):
    draw = ToySim.draw

    def dry(self, index, *, seed=0):
        if index == 5:
            raise UserError("No ink.")
        return draw(self, index, seed=seed)

    monkeypatch.setattr(ToySim, "draw", dry)
    with pytest.raises(UserError, match="No ink"):
        simulate_set("toy-sim")
    assert not is_on_disk("toy-sim")
