"""P2PNet's published network, which the released DLA-Count code has too, in plain functions."""

from pathlib import Path

import torch
from torch.nn import functional as F

from cellbench.config.sources import load_file
from cellbench.models.build import build_counter


def model_of(config):
    return load_file(Path(f"configs/methods/{config}.py"))["model"]


def test_the_network_is_the_published_one_written_out():
    torch.manual_seed(0)
    counter = build_counter(model_of("p2pnet_published"), load_weights=False).eval()
    decoder, head = counter.decoder, counter.head
    pixels = torch.randn(1, 3, 32, 48)

    def conv(x, layer, padding=1):
        return F.conv2d(x, layer.weight, layer.bias, padding=padding)

    with torch.no_grad():
        points, logits, references = counter.network(pixels)
        # torchvision's layers from the image to C4 and from there to C5, before the last pool
        c4 = counter.backbone.features[:33](pixels)
        c5 = counter.backbone.features[33:43](c4)
        coarse = conv(c5, decoder.laterals[0], padding=0)
        coarse = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        p4 = conv(conv(c4, decoder.laterals[1], padding=0) + coarse, decoder.conv.conv)
        answers = []
        for tower, last in ((head.tower, head.scores), (head.offset_tower, head.offsets)):
            hidden = conv(conv(p4, tower[0]).clamp_min(0), tower[2]).clamp_min(0)
            answers.append(conv(hidden, last)[0])
    scores, moves = answers
    assert (len(scores), len(moves)) == (4, 8)
    row = 0
    for y in range(0, 32, 4):  # four references a cell of 8 px, 2 px from its middle
        for x in range(0, 48, 4):
            own = 2 * (y // 4 % 2) + x // 4 % 2
            cell = (..., y // 8, x // 8)
            place = torch.tensor([x + 2.0, y + 2.0])
            assert references[row].equal(place)
            torch.testing.assert_close(logits[0, row], scores[own][cell])
            offset = torch.stack([moves[own][cell], moves[4 + own][cell]])
            torch.testing.assert_close(points[0, row], place + 100 * offset, atol=1e-3, rtol=1e-4)
            row += 1
    assert row == len(references)
    parts = sum(p.numel() for part in (decoder, head) for p in part.parameters())
    widest = 9 * 256 * 256 + 256
    assert parts == 2 * (512 * 256 + 256) + widest + 4 * widest + 12 * (9 * 256 + 1)


def test_the_released_dla_count_is_that_network_with_another_matcher():
    """Its point loss, never trained there, is left out."""
    theirs, ours = model_of("p2pnet_published"), model_of("dla_released")
    assert theirs["backbone"].pop("frozen_stages") == 0  # the default
    assert {part for part in theirs if theirs[part] != ours[part]} == {"matcher", "loss"}
    assert theirs.keys() == ours.keys()
    assert ours["loss"]["background_weight"] == theirs["loss"]["background_weight"]
