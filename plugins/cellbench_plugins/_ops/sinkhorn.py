"""Entropic optimal transport (Sinkhorn) in the log domain, for a batch of images.

For costs C, masses a of the rows (cells) and b of the columns (positions of a map), and a
regularisation eps, the plan of least <P, C> + eps KL(P | a b) is

    P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps),

with potentials f and g for which its marginals are a and b. Sinkhorn's update sets one potential so
that its marginal is exact. It converges slowly for small eps, so here

- eps is halved step by step from the largest cost, each problem starting from the one before;
- every update is followed by a Newton step on the dual as a function of f alone; the best of
  several lengths and dampings is used, including no step, so that the dual never decreases.

Only differences of logarithms are computed, which avoids overflow and division by underflowed sums.
Everything is computed in float64, because the rounding of f_i - C_ij in float32 would be amplified
by the division by a small eps.

Source: Cuturi, "Sinkhorn Distances", arXiv:1306.0895; Brauer, Clason, Lorenz & Wirth, "A
    Sinkhorn-Newton method for entropic optimal transport", arXiv:1710.06635.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Lengths of the Newton step to try, and dampings of the Hessian's diagonal, as shares of a row's
# mean mass: a sharp plan splits into parts that hardly exchange mass, between which the undamped
# step is far too long.
_LENGTHS = (1.0, 0.25)
_DAMPING = (1e-8, 1e-5, 1e-3, 1e-1)
# Tolerance and most updates of the intermediate problems, of larger eps.
_ROUGH = 1e-3
_UPDATES_A_LEVEL = 20


class Transport(NamedTuple):
    """Solution for a batch of images.

    Attributes:
        rows: (B, N) float64, f; 0 in images without mass, finite for rows without mass.
        columns: (B, M) float64, g, likewise.
        violation: (B,) float64, sum of the absolute errors of the rows' masses; those of the
            columns are exact.
    """

    rows: Tensor
    columns: Tensor
    violation: Tensor


@torch.no_grad()
def sinkhorn(
    cost: Tensor,
    rows: Tensor,
    columns: Tensor,
    *,
    eps: float,
    tolerance: float = 1e-6,
    iterations: int = 100,
) -> Transport:
    """Solve entropic optimal transport.

    Args:
        cost: (B, N, M) float, finite, at least 0.
        rows: (B, N) float masses, at least 0; 0 for padding of an image's list.
        columns: (B, M) float masses, at least 0; both are divided by their sums.
        eps: entropic regularisation, in units of the cost, positive.
        tolerance: violation below which an image counts as solved.
        iterations: maximum number of updates at the last eps.

    Returns:
        The potentials. An image without mass on either side, or a batch without rows or columns,
        has potentials 0 and violation 0.

    Raises:
        ValueError: eps is not positive.
    """
    if not eps > 0:
        raise ValueError(f"the blur is a positive number, not {eps}")
    cost, rows, columns = cost.double(), rows.double(), columns.double()
    f, g = torch.zeros_like(rows), torch.zeros_like(columns)
    violation = rows.new_zeros(len(rows))
    some = (rows.sum(1) > 0) & (columns.sum(1) > 0)
    if some.any():
        problem = _Problem(cost[some], _normalised(rows[some]), _normalised(columns[some]))
        f[some], g[some], violation[some] = problem.solve(eps, tolerance, iterations)
    return Transport(f, g, violation)


def plan(cost: Tensor, rows: Tensor, columns: Tensor, found: Transport, *, eps: float) -> Tensor:
    """Compute the transport plan of a solution: (B, N, M) float64 of sum 1; 0 without mass.

    Args:
        cost: argument of `sinkhorn`.
        rows: argument of `sinkhorn`.
        columns: argument of `sinkhorn`.
        found: result of `sinkhorn`.
        eps: argument of `sinkhorn`.
    """
    masses = (rows.double(), columns.double())
    a, b = (mass / mass.sum(1, keepdim=True).clamp_min(1e-300) for mass in masses)
    outer = a[:, :, None] * b[:, None, :]
    exponent = (found.rows[:, :, None] + found.columns[:, None, :] - cost) / eps
    # without mass in a row or column the exponent is arbitrary, and 0 times inf would be NaN
    return outer * exponent.masked_fill(outer == 0, 0).exp()


def _normalised(masses: Tensor) -> Tensor:
    return masses / masses.sum(1, keepdim=True)


class _Problem:
    """Transport problems of a batch of images that all have mass."""

    def __init__(self, cost: Tensor, a: Tensor, b: Tensor) -> None:
        self.cost, self.a, self.b = cost, a, b
        self.log_a, self.log_b = a.log(), b.log()

    def solve(self, eps: float, tolerance: float, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
        """Compute potentials and violations at eps, starting from larger ones."""
        f = torch.zeros_like(self.a)
        level = max(float(self.cost.max()), eps)
        while level > eps:
            f = self._level(f, level, _ROUGH, _UPDATES_A_LEVEL)
            level = max(eps, level / 2)
        f = self._level(f, eps, tolerance, iterations)
        g = self.g_of(f, eps)
        return f, g, (self.a - self._plan(f, g, eps).sum(2)).abs().sum(1)

    def g_of(self, f: Tensor, eps: float) -> Tensor:
        """Compute the columns' potentials for which their marginals are exact, (..., B, M)."""
        return -eps * torch.logsumexp(
            self.log_a[:, :, None] + (f[..., None] - self.cost) / eps, dim=-2
        )

    def f_of(self, g: Tensor, eps: float) -> Tensor:
        """Compute the rows' potentials, likewise, (..., B, N)."""
        return -eps * torch.logsumexp(
            self.log_b[:, None, :] + (g[..., None, :] - self.cost) / eps, dim=-1
        )

    def _level(self, f: Tensor, eps: float, tolerance: float, updates: int) -> Tensor:
        for _ in range(updates):
            f = self.f_of(self.g_of(f, eps), eps)
            g = self.g_of(f, eps)
            transported = self._plan(f, g, eps)
            missing = self.a - transported.sum(2)  # the gradient of the dual
            if missing.abs().sum(1).max() < tolerance:
                break
            f = self._best(f, self._newton(transported, missing, eps), eps)
        return f

    def _plan(self, f: Tensor, g: Tensor, eps: float) -> Tensor:
        logs = self.log_a[:, :, None] + self.log_b[:, None, :]
        return (logs + (f[:, :, None] + g[:, None, :] - self.cost) / eps).exp()

    def _newton(self, transported: Tensor, missing: Tensor, eps: float) -> Tensor:
        """Compute the Newton step for each damping, (dampings, B, N)."""
        share = transported / self.b.clamp_min(1e-300)[:, None, :]
        hessian = torch.diag_embed(transported.sum(2)) - transported @ share.mT
        damping = missing.new_tensor(_DAMPING)[:, None] / (self.a > 0).sum(1)  # (dampings, B)
        ridge = damping[..., None, None] * torch.eye(hessian.shape[1]).to(hessian)
        step = torch.linalg.solve(hessian + ridge, eps * missing[..., None])[..., 0]
        return step - step.mean(-1, keepdim=True)

    def _best(self, f: Tensor, steps: Tensor, eps: float) -> Tensor:
        """Select per image the f of the highest dual value among all steps and none."""
        lengths = f.new_tensor(_LENGTHS)[:, None, None, None]
        tried = torch.cat([f[None], f + (lengths * steps).flatten(0, 1)])
        value = (tried * self.a).sum(-1) + (self.g_of(tried, eps) * self.b).sum(-1)
        chosen = value.nan_to_num(nan=float("-inf")).argmax(dim=0)
        return tried[chosen, torch.arange(len(f), device=f.device)]
