"""Cellpose and StarDist without training: the authors' packages and weights."""

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
"""Longest timeout that can be set for a tool, seconds."""


class ZeroShotCounter(CellCounter):
    """Base of counters that run a pretrained tool; nothing is trained or chosen on data.

    The tool runs in the Python interpreter given by `python` or `$CELLBENCH_<TOOL>_PYTHON`, else in
    this process. It starts when it is first needed. Its release and weights are recorded.

    Attributes:
        tool: name of the package.
    """

    trained_by_steps: ClassVar[bool] = False
    no_export: ClassVar[str] = "its network belongs to a package that runs in another Python"
    tool: str
    local_options: ClassVar[Collection[str]] = ("python",)

    def __init__(self, *, python: str | None, patience_s: float, **options: Any) -> None:
        """Set how the tool is started.

        Args:
            python: an interpreter that has the tool; None as described in the class.
            patience_s: timeout for loading the weights, and for an image, seconds.
            options: options of the tool.

        Raises:
            PartError: a timeout out of range.
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
        """The tool's release and weights; starts the tool if necessary.

        Raises:
            UserError: the tool or its weights are not available.
        """
        if self._info is None:
            info = self._running().info
            source = f"{self.tool} {info['version']}: {info['weights']}"
            self._info = WeightsInfo(source, info["sha256"])
        return self._info

    @weights_info.setter
    def weights_info(self, info: WeightsInfo) -> None:
        self._info = info

    @property
    def calibrates_count(self) -> bool:
        """False: the tool's counts are scored uncorrected."""
        return False

    def fit(self, train: Any, validation: Any) -> bool:
        """Return True: there is nothing to train."""
        return True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raise an error: there is no training loss.

        Raises:
            NotImplementedError: always; the tool has its own weights.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict with the tool and its own thresholds."""
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
    """Pretrained Cellpose: the cellpose package with its own weights, without training.

    A mask is a cell, its point the mean of its pixels, its score their mean probability. The
    default weights are `cyto3`, with the model that estimates diameters, before release 4 and
    `cpsam` from 4 on.

    Source: Stringer et al., Nature Methods 18 (2021); Stringer & Pachitariu, "Cellpose3", Nature
        Methods 22 (2025); Pachitariu et al., "Cellpose-SAM", bioRxiv 2025.

    Differs: before release 4 its input is the mean of the colours.
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
        """Set the model and how the tool is started.

        Args:
            weights: name of a cellpose model, or path of a local file; None for its default.
            diameter_px: diameter of the cells, px of the network's input; None lets cellpose
                choose.
            python: an interpreter that has cellpose; None for `$CELLBENCH_CELLPOSE_PYTHON`, and
                if that is not set, for this process.
            patience_s: timeout for loading the weights, and for an image, seconds.
        """
        super().__init__(
            python=python, patience_s=patience_s, weights=weights, diameter_px=diameter_px
        )


@COUNTERS.register_module()
class StarDistZeroShot(ZeroShotCounter):
    """Pretrained StarDist: the stardist package with its own weights, without training.

    A polygon is a cell; its point and score are those of stardist. Images are normalised to their
    percentiles 1 and 99.8, each colour separately, as in the examples of stardist's authors; the
    input of models with one channel is the mean of the colours.

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
        """Set the model and how the tool is started.

        Args:
            weights: name of a stardist model, or path of a local folder; None for
                `2D_versatile_fluo`.
            python: an interpreter that has stardist; None for `$CELLBENCH_STARDIST_PYTHON`, and
                if that is not set, for this process.
            patience_s: timeout for loading the weights, and for an image, seconds.
        """
        super().__init__(python=python, patience_s=patience_s, weights=weights)
