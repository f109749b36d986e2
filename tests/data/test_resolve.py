import numpy as np
import pytest

from cellbench.data import fetch
from cellbench.data.contracts import DataSet, RawItem, ReadPoints, SimulatedImage, Simulator
from cellbench.data.named_dataset import find_dataset
from cellbench.data.resolve import resolve_set
from cellbench.data.set_writer import NewItem, write_set
from cellbench.errors import UserError
from cellbench.registry import DATASETS, SIMULATORS


class ToySet(DataSet):
    """A set that nobody offers."""

    name = "toy"
    title = "TOY"
    summary = ""
    images = 3
    count = (0.0, 0.0)
    parts = (1, 1, 1)
    instructions = "ask its authors."
    simulator = "toy-sim"

    def scan(self, folder):
        return [RawItem("a", folder / "a.png", None)]

    def read_annotation(self, item, *, size):
        return ReadPoints(np.zeros((0, 2), np.float32))


class ToySim(Simulator):
    """Black pictures."""

    name = "toy-sim"
    title = "Toy"
    images = 3
    stands_for = "toy"

    def draw(self, index, *, seed=0):
        return SimulatedImage(np.zeros((8, 8, 3), np.uint8), np.zeros((0, 2), np.float32))


@pytest.fixture
def said(home, monkeypatch):
    monkeypatch.setitem(DATASETS._module_dict, "toy", ToySet)
    monkeypatch.setitem(SIMULATORS._module_dict, "toy-sim", ToySim)
    return []


def put():
    pixels = np.full((8, 8, 3), 7, np.uint8)
    item = NewItem("a", pixels, (8, 8), np.zeros((0, 2), np.float32))
    return write_set("toy", [item], source="a test")


def test_what_is_on_disk_comes_first_and_silently(said):
    stored = put()
    assert resolve_set("toy", strict=True, say=said.append).manifest_hash == stored.manifest_hash
    assert said == []


def test_the_simulator_stands_in_under_its_own_name_with_a_banner(said):
    stored = resolve_set("toy", strict=False, say=said.append)
    assert stored.name == "toy-sim"
    assert stored.simulated
    (banner,) = said
    assert "toy-sim stands in" in banner
    assert "no scores on TOY" in banner
    assert "cellbench data import toy --from DIR" in banner


def test_strict_stops_and_names_the_command_that_mends_it(said):
    with pytest.raises(UserError, match="cellbench data import toy --from DIR"):
        resolve_set("toy", strict=True, say=said.append)
    assert said == []


def test_a_simulator_named_as_such_is_no_stand_in(said):
    assert resolve_set("toy-sim", strict=True, say=said.append).name == "toy-sim"
    assert said == []


def offered(monkeypatch, fetch_set):
    monkeypatch.setattr(ToySet, "archives", ("somewhere",))
    monkeypatch.setattr(fetch, "fetch_set", fetch_set)


def test_what_can_be_downloaded_needs_no_stand_in(said, monkeypatch):
    offered(monkeypatch, lambda dataset: put())
    assert resolve_set("toy", strict=True, say=said.append).name == "toy"
    assert said == ["TOY was downloaded."]


def test_a_failed_download_is_said_before_the_banner(said, monkeypatch):
    def fetch_set(dataset):
        raise UserError("No network, no TOY.")

    offered(monkeypatch, fetch_set)
    assert resolve_set("toy", strict=False, say=said.append).name == "toy-sim"
    assert said[0] == "No network, no TOY."
    assert "stands in" in said[1]
    with pytest.raises(UserError, match="No network, no TOY"):
        resolve_set("toy", strict=True, say=said.append)


def test_an_unknown_name_offers_near_ones(said):
    with pytest.raises(UserError, match="did you mean 'toy'"):
        resolve_set("toyy", strict=False, say=said.append)


def test_a_simulator_has_the_protocol_of_what_it_stands_for(said):
    assert isinstance(find_dataset("toy-sim"), ToySet)
    assert isinstance(find_dataset("toy"), ToySet)


def test_a_set_without_simulator_is_asked_for_with_the_command_that_brings_it(said, monkeypatch):
    monkeypatch.setattr(ToySet, "simulator", "")
    with pytest.raises(UserError, match="toy is not on disk; `cellbench data import toy"):
        resolve_set("toy", strict=False, say=said.append)
    assert said == []
