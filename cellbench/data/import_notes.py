"""Notes that are collected while images are imported."""

from collections import Counter
from collections.abc import Iterator


class ImportNotes:
    """Collection of distinct notes in order, each with the number of images it applies to."""

    def __init__(self, word: str) -> None:
        """Start an empty collection.

        Args:
            word: plural noun for the images.
        """
        self._word = word
        self._times: Counter[str] = Counter()

    def add(self, *sentences: str) -> None:
        """Add the notes of one image, or of all."""
        self._times.update(list(dict.fromkeys(map(as_unicode, sentences))))

    def __iter__(self) -> Iterator[str]:
        for sentence, times in self._times.items():
            yield sentence if times == 1 else f"{sentence} ({times} {self._word})"


def as_unicode(text: str) -> str:
    """Replace the undecodable bytes of a file's name, which a manifest cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
