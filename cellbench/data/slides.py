"""Read whole-slide images through OpenSlide, region by region at the required level."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.data.large_picture import LargePicture
from cellbench.data.pixel_sizes import plausible
from cellbench.data.reader import DEFAULT_READ_OPTIONS, ReadOptions
from cellbench.errors import UserError

_ONLY_OPENSLIDE = frozenset({".mrxs", ".vms", ".vmu"})
_SUFFIXES = frozenset({".svs", ".ndpi", ".scn", ".bif", *_ONLY_OPENSLIDE})
_EXTRA = "pip install 'cellbench[slides]' reads it"
_WHITE = (255, 255, 255)


def is_named_as_slide(path: Path) -> bool:
    """Return whether a file has a slide's suffix and is not hidden."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def needs_openslide(path: Path) -> bool:
    """Return whether a file has the suffix of a slide format that is not a TIFF."""
    return path.suffix.lower() in _ONLY_OPENSLIDE


def openslide_is_there() -> bool:
    """Return whether the extra `slides` is installed."""
    try:
        import openslide  # noqa: F401 - its library may be missing too
    except (ImportError, OSError):
        return False
    return True


def slide_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of a slide in px of its finest level.

    Raises:
        UserError: the extra is not installed, or the file is not a slide.
    """
    with _opened(path) as slide:
        width, height = slide.dimensions
    return int(width), int(height)


class Slide(LargePicture):
    """Level of a whole-slide image, whose regions are decoded on request."""

    def __init__(
        self, path: Path, options: ReadOptions = DEFAULT_READ_OPTIONS, *, factor: float = 1.0
    ) -> None:
        """Choose the coarsest level of at least the wanted resolution, and its intensity range.

        Args:
            path: path of the slide.
            options: options for reading.
            factor: wanted px per px of the finest level.

        Raises:
            UserError: the extra is not installed, or the file is not a slide.
        """
        self.path = path
        self._slide = _opened(path)
        try:
            steps = [float(step) for step in self._slide.level_downsamples]
            fine = [at for at, step in enumerate(steps) if step * factor <= 1 + 1e-6]
            self._level = max(fine, key=lambda at: steps[at], default=0)
            self.downsample = steps[self._level]
            width, height = self._slide.level_dimensions[self._level]
            self.shape = (int(height), int(width), 3)
            edges = [self._slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
            self.pixel_size_um = plausible(edges)
            colour = self._slide.properties.get("openslide.background-color", "")
            self._ground = _rgb(colour)
            note = f"level {self._level + 1} of {len(steps)} of a slide, 1 : {self.downsample:.4g}"
            self._choose_range(options, [note])
        except UserError:
            self.close()
            raise
        except Exception as error:  # metadata may be malformed in any way
            self.close()
            raise _damaged(path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def _numbers(self, down: slice, across: slice) -> NDArray[Any]:
        top, bottom, _ = down.indices(self.shape[0])
        left, right, _ = across.indices(self.shape[1])
        size = max(0, right - left), max(0, bottom - top)
        if not all(size):
            return np.zeros((size[1], size[0], 3), np.uint8)
        corner = round(left * self.downsample), round(top * self.downsample)
        try:
            region = np.asarray(self._slide.read_region(corner, self._level, size))
        except Exception as error:  # a part of the file may be damaged
            raise _damaged(self.path, error) from error
        alpha = region[:, :, 3:].astype(np.float32) / 255  # 0 where nothing was scanned
        return np.rint(region[:, :, :3] * alpha + self._ground * (1 - alpha)).astype(np.uint8)


def _opened(path: Path) -> Any:
    if not openslide_is_there():
        raise UserError(f"{path} is a slide; {_EXTRA}, or save the part that is counted as TIFF.")
    import openslide

    try:
        return openslide.OpenSlide(path)
    except Exception as error:  # its errors depend on the slide's format
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:100].rstrip(".") or type(error).__name__
    return UserError(
        f"{path} is damaged, or no slide that OpenSlide reads ({reason}); get a fresh copy of it, "
        "or save the part that is counted as TIFF."
    )


def _rgb(text: str) -> NDArray[np.float32]:
    """Parse the background colour of a slide, rrggbb; white if there is none."""
    try:
        colour = tuple(bytes.fromhex(text))
    except ValueError:
        colour = ()
    return np.array(colour if len(colour) == 3 else _WHITE, dtype=np.float32)
