"""Download, unpacking and import of a published data set."""

import os
import shutil
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from cellbench.data.archives import unpack
from cellbench.data.contracts import Archive, DataSet
from cellbench.data.download import Progress, download
from cellbench.data.importing import import_set
from cellbench.data.manifests import compare_with_published, published_files
from cellbench.data.set_writer import Progress as ImportProgress
from cellbench.data.stored_set import StoredSet, is_on_disk, open_set
from cellbench.errors import UserError
from cellbench.files.writing import write_lock
from cellbench.paths import home


def fetch_set(
    dataset: DataSet,
    *,
    url: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    import_progress: ImportProgress | None = None,
    timeout_s: float = 5.0,
) -> StoredSet:
    """Download, check and store a data set.

    Its archives are tried in order, until one can be downloaded and holds the set. Downloads are
    kept in `$CELLBENCH_HOME/downloads` while they are needed; an unfinished one is kept and
    resumed. The files are checked against the shipped manifest on import.

    Args:
        dataset: the set; one that is on disk already is only opened.
        url: address to use in place of the set's own. `$CELLBENCH_MIRROR`, the address of a
            folder, replaces all of these but the file's name. With `$CELLBENCH_OFFLINE` only an
            address given here is requested.
        force: fetch it although it is on disk.
        progress: called with received bytes and total bytes (or None), for each archive.
        import_progress: called with stored images and total images.
        timeout_s: total seconds after which this call gives up if there is no network.

    Returns:
        The set on disk.

    Raises:
        UserError: it cannot be fetched; the message states how else to get it.
    """
    with write_lock(home() / "downloads", dataset.name):
        if is_on_disk(dataset.name) and not force:
            return open_set(dataset.name)
        if os.environ.get("CELLBENCH_OFFLINE") and not url:
            raise UserError(
                f"CELLBENCH_OFFLINE is set, so {dataset.title} is not downloaded; "
                f"`cellbench data import {dataset.name} --from DIR` takes it from a raw copy."
            )
        archives = _addresses(dataset, url)
        if not archives:
            how = dataset.instructions or "ask its authors for it."
            raise UserError(f"{dataset.title} cannot be downloaded; {how}")
        deadline = time.monotonic() + timeout_s
        reasons = []
        for index, archive in enumerate(archives):
            # The remaining archives share the time, so that a dead network costs it only once.
            share = max(0.1, deadline - time.monotonic()) / (len(archives) - index)
            try:
                _fetch_archive(dataset, archive, force, progress, import_progress, timeout_s, share)
                return open_set(dataset.name)
            except UserError as error:
                reasons.append(str(error).rstrip("."))
        raise UserError(
            f"{dataset.title} could not be fetched ({'; '.join(reasons)}); if you have a copy, "
            f"run `cellbench data import {dataset.name} --from DIR`."
        )


def _addresses(dataset: DataSet, url: str | None) -> tuple[Archive, ...]:
    if url:
        return (Archive(url),)
    mirror = os.environ.get("CELLBENCH_MIRROR", "").rstrip("/")
    if not mirror:
        return dataset.archives
    named = {urlsplit(a.url).path.rpartition("/")[2]: a for a in dataset.archives}
    return tuple(replace(a, url=f"{mirror}/{file}") for file, a in named.items())


def _fetch_archive(
    dataset: DataSet,
    archive: Archive,
    force: bool,
    progress: Progress | None,
    import_progress: ImportProgress | None,
    timeout_s: float,
    answer_s: float,
) -> None:
    # The address is part of the name: parts of two archives never mix in one file.
    name = f"{dataset.name}-{sha256(archive.url.encode()).hexdigest()[:8]}"
    file = home() / "downloads" / f"{name}.archive"
    folder = file.with_suffix(".unpacked")
    download(
        archive.url,
        file,
        sha256=archive.sha256,
        size=archive.size,
        timeout_s=timeout_s,
        answer_s=answer_s,
        progress=progress,
    )
    try:
        shutil.rmtree(folder, ignore_errors=True)
        _check_published(dataset, archive.url, unpack(file, folder))
        import_set(dataset.name, folder, force=force, progress=import_progress)
    finally:
        # A stored set does not need the archive, and a rejected one would be rejected again.
        shutil.rmtree(folder, ignore_errors=True)
        file.unlink(missing_ok=True)


def _check_published(dataset: DataSet, url: str, files: list[Path]) -> None:
    """Check that all published files of the set are there, byte by byte.

    Raises:
        UserError: one is missing or has changed.
    """
    published = published_files(dataset)
    if published is None:
        return
    comparison = compare_with_published(published, files)
    if len(comparison.found) < comparison.total:
        first = (comparison.changed + comparison.missing)[0]
        raise UserError(
            f"{url} holds {len(comparison.found)} of the {comparison.total} published files of "
            f"{dataset.title} and lacks {first!r}."
        )
