"""Stages of a training: which of them a step belongs to, and which parameters it trains."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from cellbench.models.counter import CellCounter, Stage


@dataclass(frozen=True, slots=True)
class Span:
    """The steps of a stage.

    Attributes:
        stage: whose they are.
        first: its first step, from 0.
        stop: one past its last step.
    """

    stage: Stage
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


def spans(stages: Sequence[Stage], iterations: int) -> tuple[Span, ...]:
    """Cut a run into its stages.

    Args:
        stages: at least one, with positive shares.
        iterations: steps of the run, at least 1.

    Returns:
        One span a stage, in order and without gaps, up to `iterations`. Each has a step; where
        there are fewer steps than stages, those before the last go without.

    Raises:
        ValueError: no stage, a share that is not positive, or a name that comes twice.
    """
    if not stages or any(stage.share <= 0 for stage in stages):
        raise ValueError(f"a run has stages with positive shares, not {stages}")
    if len({stage.name for stage in stages}) < len(stages):
        raise ValueError(f"every stage has a name of its own, unlike in {stages}")
    done = list(itertools.accumulate(stage.share for stage in stages))
    ends: list[int] = []
    for index, share in enumerate(done):
        later = len(stages) - 1 - index  # each of these wants a step
        least = ends[-1] + 1 if ends else 1
        ends.append(
            max(0, min(max(round(share / done[-1] * iterations), least), iterations - later))
        )
    return tuple(
        Span(stage, first, stop)
        for stage, first, stop in zip(stages, [0, *ends], ends, strict=False)
    )


def span_at(cut: Sequence[Span], step: int) -> Span:
    """The span that a step lies in.

    Raises:
        ValueError: it lies in none.
    """
    for span in cut:
        if span.first <= step < span.stop:
            return span
    raise ValueError(f"step {step} is beyond the {cut[-1].stop} of the run")


def learning_parameters(counter: CellCounter) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters of what may learn at all: what asks for gradients before any stage.

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
    """Let a stage's parameters learn and no others.

    A parameter that does not learn in a stage has no gradient, so optimisers leave it, and what
    they remember of it, alone.

    Args:
        stage: of the counter.
        learning: from `learning_parameters`, before the first stage.
    """
    for name, parameter in learning:
        parameter.requires_grad_(name.startswith(stage.trained))
