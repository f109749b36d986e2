"""The one place that knows mmengine's rough edges (release 0.10.7)."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cellbench.errors import UserError

if TYPE_CHECKING:
    from mmengine.runner import Runner


def runner_class() -> type["Runner"]:
    """Import mmengine's Runner.

    Raises:
        UserError: OpenCV, which mmengine imports, misses a system library.
    """
    try:
        from mmengine.runner import Runner
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise UserError(
            f"OpenCV, which mmengine imports, misses a system library ({error}); install it "
            "(Debian and Ubuntu: apt-get install libgl1 libglib2.0-0) or replace opencv-python "
            "by opencv-python-headless."
        ) from None
    return Runner


def trust_own_checkpoints() -> None:
    """Let torch's weights-only loader read the few classes that mmengine checkpoints hold.

    Since torch 2.6 a checkpoint is read without running pickled code. mmengine's message hub
    stores `HistoryBuffer`, built of NumPy arrays; these are listed as safe, nothing else.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    reconstruct: Any = np.empty(0).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in ("f8", "f4", "i8", "i4", "?")}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, reconstruct, scalar, *dtypes]
    )


@contextmanager
def device_for_mmengine(device: torch.device) -> Iterator[None]:
    """Make mmengine place things on `device`; by itself it takes a GPU wherever there is one."""
    from mmengine.device import utils

    before = utils.DEVICE
    utils.DEVICE = device.type
    try:
        yield
    finally:
        utils.DEVICE = before


def make_runner(log: Path, **options: Any) -> "Runner":
    """A Runner that writes its pages to a file and nothing to the terminal.

    Args:
        log: the file; appended to.
        options: of mmengine's Runner.
    """
    log.parent.mkdir(parents=True, exist_ok=True)

    class QuietRunner(runner_class()):  # type: ignore[misc]
        """Keeps mmengine's log off the terminal."""

        def build_logger(self, log_level: Any = "INFO", **kwargs: Any) -> logging.Logger:
            """The logger of this experiment, with one file handler of ours."""
            from mmengine.logging import MMLogger

            logger: logging.Logger = MMLogger.get_instance(self.experiment_name)
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
            file = logging.FileHandler(log, encoding="utf-8")
            file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(file)
            logger.setLevel(log_level)
            return logger

        def load_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
            """As mmengine does it, but for a line that it prints."""
            with redirect_stdout(io.StringIO()):
                return super().load_checkpoint(*args, **kwargs)

    return QuietRunner(**options)


def close_runner(runner: "Runner") -> None:
    """Release the log file and forget the instances that mmengine keeps by name."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.visualization import Visualizer

    for manager in (MMLogger, MessageHub, Visualizer):
        instances: dict[str, Any] = manager._instance_dict
        instance = instances.pop(runner.experiment_name, None)
        if isinstance(instance, logging.Logger):
            for handler in list(instance.handlers):
                handler.close()
                instance.removeHandler(handler)
