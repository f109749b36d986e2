import torch

from cellbench.engine.average import WeightAverage


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_the_average_is_the_recursion_written_out():
    net = network()
    average = WeightAverage(net, decay=0.9)
    wanted = net[0].weight.detach().double().clone()
    for n in range(20):
        with torch.no_grad():
            net[0].weight.add_(torch.randn_like(net[0].weight))
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        wanted = decay * wanted + (1 - decay) * net[0].weight.detach().double()
    torch.testing.assert_close(average.state["0.weight"].double(), wanted, rtol=1e-5, atol=1e-6)


def test_counters_are_copied_and_not_averaged():
    net = network()
    average = WeightAverage(net, decay=0.9)
    net(torch.randn(2, 1, 5, 5))
    average.update()
    assert average.state["1.num_batches_tracked"] == 1


def test_swapping_lends_the_average_and_gives_the_weights_back():
    net = network()
    average = WeightAverage(net, decay=0.9)
    with torch.no_grad():
        net[0].weight.add_(1)
    fresh = net[0].weight.detach().clone()
    with average.swapped_in():
        torch.testing.assert_close(net[0].weight.detach(), fresh - 1)
    assert torch.equal(net[0].weight, fresh)


def test_a_checkpoint_restores_the_average():
    net = network()
    average = WeightAverage(net, decay=0.9)
    net[0].weight.data.add_(1)
    average.update()
    state = {"updates": 1, "state": {k: v.clone() for k, v in average.state.items()}}
    other = WeightAverage(network(), decay=0.9)
    other.load_state_dict(state)
    assert other.updates == 1
    assert all(torch.equal(other.state[k], average.state[k]) for k in average.state)
