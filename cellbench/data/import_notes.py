"""Sentences that are collected while pictures are imported."""

from collections import Counter
from collections.abc import Iterator


class ImportNotes:
    """Every sentence once, in the order of their coming, with the number of pictures it is of."""

    def __init__(self, word: str) -> None:
        """Begin without any.

        Args:
            word: for several pictures.
        """
        self._word = word
        self._times: Counter[str] = Counter()

    def add(self, *sentences: str) -> None:
        """Add what is said of one picture, or of all."""
        self._times.update(list(dict.fromkeys(map(as_unicode, sentences))))

    def __iter__(self) -> Iterator[str]:
        for sentence, times in self._times.items():
            yield sentence if times == 1 else f"{sentence} ({times} {self._word})"


def as_unicode(text: str) -> str:
    """Text without the bytes of a file's name that are no Unicode, which a manifest cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
