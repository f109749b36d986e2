"""Pretrained tools, run in this process or in another Python environment."""

import contextlib
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import UserError
from cellbench_plugins._ops import zero_shot_worker


class Tool(Protocol):
    """Interface of a loaded tool.

    Attributes:
        info: its `version`, the name of its `weights`, and their `sha256` or None.
    """

    info: dict[str, Any]

    def find(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the cells of an (H, W, 3) image: (N, 3), x and y in px and the score."""


def start_tool(options: dict[str, Any], *, python: str | None, by: str, patience_s: float) -> Tool:
    """Load a tool in the given Python interpreter, or in this process.

    Args:
        options: see `zero_shot_worker.open_tool`.
        python: an interpreter that has the tool; None for `$CELLBENCH_<TOOL>_PYTHON`, and if that
            is not set, for this process.
        by: name of the calling method.
        patience_s: timeout for loading the weights, and for an image, seconds.

    Raises:
        UserError: the tool or its weights are not available.
    """
    tool = options["tool"]
    variable = f"CELLBENCH_{tool.upper()}_PYTHON"
    python = python or os.environ.get(variable)
    if python:
        return OtherPython(python, options, by=by, patience_s=patience_s)
    if importlib.util.find_spec(tool) is None:
        raise UserError(
            f"{by} needs the package {tool}, which is not installed here: set {variable} to a "
            f"Python that has it, or install it with: pip install 'cellbench[{tool}]'"
        )
    return ThisPython(options, by=by)


class ThisPython:
    """Tool imported in this process."""

    def __init__(self, options: dict[str, Any], *, by: str) -> None:
        """Load the tool."""
        self._by = by
        try:
            self._find, self.info = zero_shot_worker.open_tool(options)
        except zero_shot_worker.ToolError as error:
            raise UserError(f"{by}: {error}") from None

    def find(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the cells of an image."""
        try:
            return checked(self._find(image), self._by)
        except UserError:
            raise
        except Exception as error:  # the tool may fail in any way
            raise UserError(f"{self._by} failed on an image ({error}).") from None


class OtherPython:
    """Tool in a process of another Python; `zero_shot_worker` describes the protocol."""

    def __init__(self, python: str, options: dict[str, Any], *, by: str, patience_s: float) -> None:
        """Start the process and wait until the tool has its weights."""
        self._by, self._python, self._patience_s = by, python, patience_s
        self._folder = Path(tempfile.mkdtemp(prefix="cellbench-"))
        self._log = self._folder / "log.txt"
        script = Path(zero_shot_worker.__file__)
        # The other interpreter must not import packages of this environment.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [python, str(script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    text=True,
                )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise UserError(
                f"{by}: the Python {python!r} does not start ({error.strerror}); name one that "
                f"has {options['tool']}."
            ) from None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(
            target=_read, args=(self._process, self._answers), daemon=True, name="cellbench-tool"
        )
        reader.start()
        self.close = weakref.finalize(self, _stop, self._process, reader, self._folder)
        self.info = self._ask(options)

    def find(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the cells of an image."""
        image_file, cells_file = self._folder / "image.npy", self._folder / "cells.npy"
        np.save(image_file, image, allow_pickle=False)
        self._ask({"image": str(image_file), "answer": str(cells_file)})
        return checked(np.load(cells_file, allow_pickle=False), self._by)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stream = self._process.stdin
        line = ""
        try:
            if stream is not None:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
            line = self._answers.get(timeout=self._patience_s)
        except queue.Empty:
            self.close()
            raise UserError(
                f"{self._by}: {self._python} gave no answer within {self._patience_s:g} s; raise "
                "model.patience_s if it is at work."
            ) from None
        except OSError:
            pass  # the process ended: reported below
        if not line:
            last = self._last_log_line()
            self.close()
            raise UserError(f"{self._by}: {self._python} ended without an answer ({last}).")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UserError(f"{self._by}: {answer['error']}")
        return answer

    def _last_log_line(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n") if self._log.is_file() else []
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "silently")


def checked(found: Any, by: str) -> NDArray[np.float32]:
    """Validate the cells that a tool returned.

    Raises:
        UserError: they are not (N, 3) finite numbers.
    """
    cells = np.asarray(found, dtype=np.float32)
    if cells.ndim != 2 or cells.shape[1] != 3 or not np.isfinite(cells).all():
        raise UserError(
            f"{by}: the tool answered with an array of shape {cells.shape} instead of finite "
            "(x, y, score) rows; use a release of it that is known to work."
        )
    return cells


def _read(process: subprocess.Popen[str], answers: "queue.SimpleQueue[str]") -> None:
    if process.stdout is not None:
        for line in process.stdout:
            answers.put(line)
    answers.put("")  # end of the output


def _stop(process: subprocess.Popen[str], reader: threading.Thread, folder: Path) -> None:
    """Stop the process by closing its input, or kill it after 5 s, and remove its folder."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join(timeout=5)
    if process.stdout is not None:
        process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)
