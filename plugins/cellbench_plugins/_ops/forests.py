"""Extremely randomised trees as arrays: trained by scikit-learn, evaluated without it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellbench_plugins._ops.optional import import_optional

# Rows times trees that are evaluated at once.
_AT_ONCE = 1 << 21


@dataclass(frozen=True, slots=True)
class Forest:
    """Forest of T trees of at most N nodes; the first node of each is its root.

    Attributes:
        feature: (T, N) int16, the column on which a node splits; -1 in a leaf.
        threshold: (T, N) float32; rows with at most this value go left.
        left: (T, N) int16, the left child of a node, whose index is always larger.
        right: (T, N) int16, the right child, likewise.
        share: (T, N) float32, share of true labels among a node's training rows, 0 to 1.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    share: NDArray[np.float32]

    def check(self, columns: int) -> None:
        """Validate the arrays for a number of columns.

        Raises:
            ValueError: a node splits on a missing column or has an earlier child, or a share is
                outside [0, 1].
        """
        nodes = np.arange(self.feature.shape[1])
        inner = self.feature >= 0
        for child in (self.left, self.right):
            if (inner & ((child <= nodes) | (child >= nodes.size))).any():
                raise ValueError("a tree leads back")
        if (self.feature >= columns).any():
            raise ValueError(f"a tree asks for more than {columns} features")
        if not ((self.share >= 0) & (self.share <= 1)).all():
            raise ValueError("a leaf holds a share outside 0 to 1")

    def probability(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict the probability of each row, (R,): the mean share of its leaves.

        Args:
            rows: (R, columns).
        """
        trees = np.arange(len(self.feature))
        step = max(1, _AT_ONCE // max(1, trees.size))
        parts = [np.zeros(0, dtype=np.float32)]
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            node = np.zeros((len(some), trees.size), dtype=np.intp)
            row, tree = np.indices(node.shape).reshape(2, -1)
            while row.size:
                at = node[row, tree]
                column = self.feature[tree, at]
                inner = column >= 0
                row, tree, at, column = row[inner], tree[inner], at[inner], column[inner]
                low = some[row, column] <= self.threshold[tree, at]
                node[row, tree] = np.where(low, self.left[tree, at], self.right[tree, at])
            parts.append(self.share[trees, node].mean(axis=1, dtype=np.float32))
        return np.concatenate(parts)


def grow(
    rows: NDArray[np.float32],
    labels: NDArray[np.bool_],
    *,
    trees: int,
    leaves: int,
    least: int,
    seed: int,
    by: str,
) -> Forest:
    """Train a forest that classifies rows as true or false.

    Source: Geurts, Ernst & Wehenkel, "Extremely randomized trees", Machine Learning 63, 2006.

    Args:
        rows: (R, columns), finite.
        labels: (R,).
        trees: number of trees.
        leaves: maximum number of leaves of a tree, at most 16,384.
        least: fewest rows of a leaf.
        seed: seed of the random splits.
        by: name of the calling part, for the message where scikit-learn is missing.

    Returns:
        The forest, whose predictions are those of scikit-learn: each threshold is rounded down to
        float32. If all labels are equal, every tree is a single leaf.
    """
    shape = (trees, 2 * leaves - 1)
    forest = Forest(
        np.full(shape, -1, dtype=np.int16),
        np.zeros(shape, dtype=np.float32),
        np.zeros(shape, dtype=np.int16),
        np.zeros(shape, dtype=np.int16),
        np.zeros(shape, dtype=np.float32),
    )
    if labels.all() or not labels.any():
        forest.share[:, 0] = float(labels.any())
        return forest
    ensemble = import_optional("sklearn.ensemble", package="scikit-learn", by=by)
    model = ensemble.ExtraTreesClassifier(
        trees, max_leaf_nodes=leaves, min_samples_leaf=least, random_state=seed
    ).fit(rows, labels)
    for place, tree in enumerate(member.tree_ for member in model.estimators_):
        nodes = tree.node_count
        inner = tree.children_left >= 0
        threshold = tree.threshold.astype(np.float32)
        above = threshold > tree.threshold
        threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
        forest.feature[place, :nodes] = np.where(inner, tree.feature, -1)
        forest.threshold[place, :nodes] = np.where(inner, threshold, 0)
        forest.left[place, :nodes] = np.where(inner, tree.children_left, 0)
        forest.right[place, :nodes] = np.where(inner, tree.children_right, 0)
        forest.share[place, :nodes] = tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1)
    return forest
