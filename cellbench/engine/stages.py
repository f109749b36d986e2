"""Stages of a training: the steps of each, and the parameters that it trains."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from cellbench.models.counter import CellCounter, Stage


@dataclass(frozen=True, slots=True)
class Span:
    """Range of the steps of a stage.

    Attributes:
        stage: that the steps belong to.
        first: first step, from 0.
        stop: one past the last step.
    """

    stage: Stage
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


def spans(stages: Sequence[Stage], iterations: int) -> tuple[Span, ...]:
    """Split the steps of a run into its stages.

    Args:
        stages: at least one, with positive shares.
        iterations: steps of the run, at least 1.

    Returns:
        One span per stage, in order and without gaps, up to `iterations`. Each has at least one
        step; with fewer steps than stages the first stages have none.

    Raises:
        ValueError: no stage, a share that is not positive, or a duplicate name.
    """
    if not stages or any(stage.share <= 0 for stage in stages):
        raise ValueError(f"a run has stages with positive shares, not {stages}")
    if len({stage.name for stage in stages}) < len(stages):
        raise ValueError(f"every stage has a name of its own, unlike in {stages}")
    shares = list(itertools.accumulate(stage.share for stage in stages))
    stops = [0]
    for number, share in enumerate(shares, start=1):
        lowest = stops[-1] + 1  # this stage needs a step
        highest = max(0, iterations - (len(stages) - number))  # and so does each later one
        stops.append(min(max(round(share / shares[-1] * iterations), lowest), highest))
    return tuple(
        Span(stage, first, stop)
        for stage, (first, stop) in zip(stages, itertools.pairwise(stops), strict=True)
    )


def span_at(cut: Sequence[Span], step: int) -> Span:
    """Return the span that a step lies in.

    Raises:
        ValueError: the step lies in none.
    """
    for span in cut:
        if span.first <= step < span.stop:
            return span
    raise ValueError(f"step {step} is beyond the {cut[-1].stop} of the run")


def learning_parameters(counter: CellCounter) -> list[tuple[str, nn.Parameter]]:
    """List names and parameters that require gradients before any stage.

    Raises:
        ValueError: a stage names parameters that the counter does not have.
    """
    learning = [(n, p) for n, p in counter.named_parameters() if p.requires_grad]
    for stage in counter.stages:
        for prefix in stage.trained:
            if prefix and not any(name.startswith(prefix) for name, _ in learning):
                raise ValueError(f"stage {stage.name!r}: nothing that learns is {prefix!r}")
    return learning


def enter_stage(stage: Stage, learning: Sequence[tuple[str, nn.Parameter]]) -> None:
    """Enable the gradients of a stage's parameters and disable all others.

    Optimisers skip a parameter without a gradient: neither it nor its optimiser state changes.

    Args:
        stage: of the counter.
        learning: from `learning_parameters`, before the first stage.
    """
    for name, parameter in learning:
        parameter.requires_grad_(name.startswith(stage.trained))
