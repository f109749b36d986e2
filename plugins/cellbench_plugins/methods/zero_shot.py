"""Cellpose and StarDist as their authors give them away: their packages, their weights."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter
from cellbench.models.scored import original_points, scored
from cellbench.models.weights import WeightsInfo
from cellbench.registry import COUNTERS
from cellbench.structures import Prediction
from cellbench_plugins._ops.zero_shot import Tool, start_tool
from cellbench_plugins._ops.zero_shot_worker import MODELS

LONGEST_S = 86400.0
"""Of a wait for a tool."""


class ZeroShotCounter(CellCounter):
    """Counts what a tool finds with its own weights; nothing is trained and nothing chosen.

    The tool runs in the Python that `python` or `$CELLBENCH_<TOOL>_PYTHON` names, else in this
    process. It starts when it is first needed. Its release and its weights are in the record.

    Attributes:
        tool: name of the package.
    """

    trained_by_steps: ClassVar[bool] = False
    no_export: ClassVar[str] = "its network belongs to a package that runs in another Python"
    tool: str
    local_options: ClassVar[Collection[str]] = ("python",)

    def __init__(self, *, python: str | None, patience_s: float, **options: Any) -> None:
        """Remember what to start.

        Args:
            python: an interpreter that has the tool; None as the class says.
            patience_s: longest wait for the weights, and for an image.
            options: of the tool.

        Raises:
            PartError: a wait of no or endless length.
        """
        if not 0 < patience_s <= LONGEST_S:
            raise PartError(
                f"model.patience_s: more than 0 and at most {LONGEST_S:g} s are wanted here, not "
                f"{patience_s!r}."
            )
        super().__init__(size_multiple=1)
        self._python = python
        self._patience_s = patience_s
        self._options = {"tool": self.tool, **options}
        self._started: Tool | None = None
        self._info: WeightsInfo | None = None

    @property
    def weights_info(self) -> WeightsInfo:
        """The tool's release and weights; starts it.

        Raises:
            UserError: the tool or its weights cannot be had.
        """
        if self._info is None:
            told = self._running().told
            source = f"{self.tool} {told['version']}: {told['weights']}"
            self._info = WeightsInfo(source, told["sha256"])
        return self._info

    @weights_info.setter
    def weights_info(self, info: WeightsInfo) -> None:
        self._info = info

    @property
    def calibrates_count(self) -> bool:
        """No: the tool is scored as it comes."""
        return False

    def fit(self, train: Any, validation: Any) -> bool:
        """Nothing is left to train."""
        return True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """There is none.

        Raises:
            NotImplementedError: always; the tool brings its weights.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """What the tool finds, with its own thresholds."""
        tool = self._running()
        preprocessor: Any = self.data_preprocessor
        pixels = images.pixels.float() * preprocessor.std + preprocessor.mean
        arrays = (pixels * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        predictions = []
        for row, (width, height) in enumerate(images.sizes.tolist()):
            image = np.ascontiguousarray(arrays[row, :height, :width].cpu().numpy())
            cells = tool.find(image)
            found = torch.from_numpy(cells[:, :2].copy()).to(images.sizes.device)
            points = original_points(found, images, row)
            predictions.append(scored(points, np.clip(cells[:, 2], 0, 1)))
        return predictions

    def _running(self) -> Tool:
        if self._started is None:
            self._started = start_tool(
                self._options,
                python=self._python,
                by=type(self).__name__,
                patience_s=self._patience_s,
            )
        return self._started


@COUNTERS.register_module()
class CellposeZeroShot(ZeroShotCounter):
    """The cellpose package with its own weights.

    A mask is a cell, its point the mean of its pixels, its score their mean probability. Of
    releases before 4 it is `cyto3` with the model that estimates diameters, from 4 on `cpsam`.

    Source: Stringer et al., Nature Methods 18 (2021); Stringer & Pachitariu, "Cellpose3", Nature
        Methods 22 (2025); Pachitariu et al., "Cellpose-SAM", bioRxiv 2025.

    Differs: before release 4 it sees images as the mean of their colours.
    """

    tool = "cellpose"
    named_options: ClassVar[Mapping[str, Collection[str]]] = {"weights": MODELS["cellpose"]}

    def __init__(
        self,
        *,
        weights: str | None = None,
        diameter_px: float | None = None,
        python: str | None = None,
        patience_s: float = 1800.0,
    ) -> None:
        """Remember what to start.

        Args:
            weights: a model that cellpose knows by name, or a file of yours; None for its default.
            diameter_px: of the cells in the network's input; None leaves it to cellpose.
            python: an interpreter that has cellpose; None for `$CELLBENCH_CELLPOSE_PYTHON`, and
                without that for this process.
            patience_s: longest wait for the weights, and for an image.
        """
        super().__init__(
            python=python, patience_s=patience_s, weights=weights, diameter_px=diameter_px
        )


@COUNTERS.register_module()
class StarDistZeroShot(ZeroShotCounter):
    """The stardist package with its own weights.

    A polygon is a cell, its point and score are those that stardist names. Images are normalised
    to their percentiles 1 and 99.8, each colour by itself, as stardist's authors do in their
    examples; models of one channel see the mean of the colours.

    Source: Schmidt et al., arXiv:1806.03535; Weigert & Schmidt, "Nuclei instance segmentation and
        classification in histopathology images with StarDist", arXiv:2203.02284.
    """

    tool = "stardist"
    named_options: ClassVar[Mapping[str, Collection[str]]] = {"weights": MODELS["stardist"]}

    def __init__(
        self,
        *,
        weights: str | None = None,
        python: str | None = None,
        patience_s: float = 1800.0,
    ) -> None:
        """Remember what to start.

        Args:
            weights: a model that stardist knows by name, or a folder of yours; None for
                `2D_versatile_fluo`.
            python: an interpreter that has stardist; None for `$CELLBENCH_STARDIST_PYTHON`, and
                without that for this process.
            patience_s: longest wait for the weights, and for an image.
        """
        super().__init__(python=python, patience_s=patience_s, weights=weights)
