"""Every refusal leaves nothing behind, inside the target or out of it."""

import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from cellbench.data.archives import unpack
from cellbench.errors import UserError

FILES = {"set/images/a.png": b"image a", "set/dots/a.png": b"dots" * 1000, "read me.txt": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def refused(archive: Path, why: str, **limits: int) -> None:
    """Claim: the archive is refused in one sentence and nothing is left on the disk."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=why) as caught:
        unpack(archive, archive.parent / "target", **limits)
    assert str(caught.value).count("\n") == 0
    assert str(archive) in str(caught.value)
    assert sorted(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("mode", ["zip", "w:gz", "w:bz2", "w:xz", "w"])
def test_every_kind_unpacks_to_the_same_files(tmp_path, mode):
    # The name says nothing: the kind is read from the content.
    archive = tmp_path / "archive"
    make_zip(archive, FILES) if mode == "zip" else make_tar(archive, FILES, mode)
    target = tmp_path / "new" / "target"
    found = unpack(archive, target)
    assert found == sorted(target / name for name in FILES)
    assert {str(p.relative_to(target)): p.read_bytes() for p in found} == FILES
    assert sorted(p.name for p in target.parent.iterdir()) == ["target"]


def test_files_unpack_without_the_rights_that_the_archive_claims(tmp_path):
    info = tarfile.TarInfo("a")
    info.mode = 0o6777
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        out.addfile(info)
    (found,) = unpack(tmp_path / "a.tar", tmp_path / "target")
    assert not found.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


@pytest.mark.parametrize(
    "name",
    ["../out", "a/../../out", "/tmp/out", "C:/out", "c:out", "a/D:out", "..\\out", "\\\\host\\out",
     "a/..", "new\nline", "x\x1b[2J"],
)  # fmt: skip
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_name_that_leads_outside_is_refused(tmp_path, name, make):
    refused(make(tmp_path / "archive", {"fine": b"1", name: b"2"}), "outside|control")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_folder_that_leads_outside_is_refused(tmp_path, make):
    archive = tmp_path / "archive"
    if make is make_zip:
        make_zip(archive, {"../out/": b"", "a": b"1"})
    else:
        with tarfile.open(archive, "w") as out:
            info = tarfile.TarInfo("../out")
            info.type = tarfile.DIRTYPE
            out.addfile(info)
    refused(archive, "outside")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as out:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    refused(tmp_path / "a.tar.gz", "link or device 'link'")


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", "link or device 'link'")


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "A"), ("x/a", "X//./a"), ("a", "a/b"), ("a/b", "a"),
                          ("caf\u00e9", "cafe\u0301")],
)  # fmt: skip
def test_two_names_for_one_file_are_refused(tmp_path, first, second):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as out:
        for name in (first, second):
            out.addfile(tarfile.TarInfo(name))
    refused(archive, "twice")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_bomb_is_refused_by_size_ratio_and_number(tmp_path, make):
    zeros = make(tmp_path / "zeros", {"a": bytes(70 * 2**20)})
    refused(zeros, "more than 1 MB", max_bytes=2**20)
    refused(zeros, "100 times its size")
    refused(make(tmp_path / "many", {f"{i}": b"" for i in range(11)}), "10 files", max_files=10)


def test_a_zip_that_lies_about_its_sizes_writes_no_more_than_it_declared(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": bytes(10_000_000)})
    content = bytearray(archive.read_bytes())
    # Uncompressed size in the local header and in the table of contents: 100 bytes.
    central = content.rfind(b"PK\x01\x02")
    struct.pack_into("<I", content, 22, 100)
    struct.pack_into("<I", content, central + 24, 100)
    archive.write_bytes(content)
    refused(archive, "damaged")


def test_files_that_share_their_bytes_are_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": os.urandom(2000), "b": os.urandom(2000)})
    content = archive.read_bytes()
    first = content.find(b"PK\x01\x02")
    second = content.find(b"PK\x01\x02", first + 4)
    bomb = bytearray(content)
    # Both entries claim one stretch of 3000 bytes, more than the file holds.
    struct.pack_into("<II", bomb, first + 20, 3000, 3000)
    struct.pack_into("<II", bomb, second + 20, 3000, 3000)
    archive.write_bytes(bomb)
    refused(archive, "same bytes")


def test_a_table_of_contents_that_would_fill_the_memory_is_refused_unread(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {f"{i:04}": b"" for i in range(200)})
    refused(archive, "more than 5 files", max_files=5)


def test_a_tar_header_of_many_megabytes_is_refused_unread(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3 * 2**30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "a.tar", "header of many megabytes")


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": b"secret"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, "encrypted file 'a'")


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_a_cut_archive_is_refused_wherever_it_was_cut(tmp_path, make, keep):
    archive = make(tmp_path / "a", {f"{i}": os.urandom(3000) for i in range(9)})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content))])
    refused(archive, "damaged or cut short")


def test_a_flipped_byte_is_noticed(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    content[2500] ^= 0xFF
    archive.write_bytes(content)
    refused(archive, "damaged")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "neither"), (b"<!DOCTYPE html><p>Log in", "web page"), (b"\n <html>", "web page"),
     (b"\x89PNG\r\n", "neither"), (b"PK\x05\x06" + bytes(18), "holds no files")],
)  # fmt: skip
def test_what_is_no_archive_is_named(tmp_path, content, why):
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", why)


def test_the_litter_of_other_systems_is_left_out(tmp_path):
    files = {"s/a.png": b"1", "__MACOSX/s/._a.png": b"2", "s/.DS_Store": b"3", "s/Thumbs.db": b""}
    found = unpack(make_zip(tmp_path / "a.zip", files), tmp_path / "target")
    assert found == [tmp_path / "target" / "s" / "a.png"]


def test_nothing_of_the_user_is_overwritten(tmp_path):
    archive = make_zip(tmp_path / "a.zip", FILES)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        unpack(archive, tmp_path / "target")
    assert [p.name for p in (tmp_path / "target").iterdir()] == ["mine"]
    (tmp_path / "target" / "mine").unlink()
    assert len(unpack(archive, tmp_path / "target")) == 3


def test_what_a_killed_unpacking_left_does_no_harm(tmp_path):
    stale = tmp_path / ".target.unpacking"
    stale.mkdir()
    (stale / "half").write_text("half")
    unpack(make_zip(tmp_path / "a.zip", FILES), tmp_path / "target")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "target"]


def test_a_missing_archive_and_a_missing_right_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        unpack(tmp_path / "none.zip", tmp_path / "target")
    archive = make_zip(tmp_path / "a.zip", FILES)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be unpacked"):
        unpack(archive, tmp_path / "file" / "target")
