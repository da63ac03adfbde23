"""A packed folder gives the curves of the folder, and damages nothing around it."""

import bz2
import gc
import gzip
import io
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive.opened import open_run
from gpusaxs.archive.run import process_archive
from gpusaxs.errors import ReadError
from gpusaxs.io import discover, extent, packed, packed_bytes, packed_members, read
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.simulate import simulate

SERIES = Path(__file__).parents[3] / "shared" / "data" / "series" / "sec_saxs_242_frames.tar.xz"
Q = np.linspace(0.05, 3.0, 40)
KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def text(scale=1.0, points=40):
    rows = (f"{q!r} {scale / q!r} {0.01 * scale!r}\n" for q in Q[:points].tolist())
    return "".join(rows).encode()


def bits(values):
    return None if values is None else values.tobytes()


def numbers(samples):
    return [(s.status, bits(s.q), bits(s.intensity), bits(s.sigma)) for s in samples]


def described(samples):
    return [(s.id, s.origin, *rest) for s, rest in zip(samples, numbers(samples), strict=True)]


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    """Write an archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    mode = "w" if path.suffix == ".tar" else f"w:{path.suffix[1:]}"
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def reason(path, frames=None):
    with pytest.raises(ReadError) as caught:
        read(path, frames=frames)
    return str(caught.value)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files that is empty before and after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    packed._opening.cache_clear()
    yield folder
    packed._opening.cache_clear()
    gc.collect()
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder with text, .pdh names, stacks of two formats, and names that sort strangely."""
    folder = tmp_path_factory.mktemp("mixed") / "mixed"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "later.dat").write_bytes(text(2.0))
    (folder / "a.dat").write_bytes(text(3.0, 30))
    (folder / "a" / "µ ü.txt").write_bytes(text(4.0))
    frames = np.outer(np.arange(1.0, 6.0), 1.0 / Q)
    np.savez(folder / "b.npz", q=Q, intensity=frames, sigma=0.01 * frames)
    np.save(folder / "c.npy", np.stack([Q, 1 / Q, 0.1 / Q]))
    write_stack(folder / "d.h5", Q, frames[:3], 0.02 * frames[:3], title="t", q_unit="1/angstrom")
    (folder / "z.dat").write_bytes(b"# q(1/A) I\n" + text(5.0))
    return folder


@pytest.fixture(params=KINDS)
def archive(request, mixed, tmp_path):
    """The mixed folder, packed, and not in the order of its names."""
    members = dict(sorted(contents(mixed).items(), reverse=True))
    return pack(tmp_path / f"mixed.{request.param}", members)


def curves_of_folder(folder):
    return [sample for source in discover([folder]) for sample in read(source)]


def test_a_packed_folder_gives_the_curves_of_the_folder_bit_for_bit(mixed, archive):
    expected = curves_of_folder(mixed)
    found = read(archive)
    assert numbers(found) == numbers(expected)
    assert [s.id for s in found] == [
        s.id.replace("mixed/", f"{archive.name}/", 1) for s in expected
    ]
    frames = range(len(expected))
    assert [s.origin for s in found] == [
        s.origin._replace(source=str(archive), frame=frame)
        for s, frame in zip(expected, frames, strict=True)
    ]
    assert extent(archive).curves == len(expected)


def test_any_slice_of_a_packed_folder_is_that_part_of_the_whole(archive):
    whole = described(read(archive, "1/nm"))
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 1):
            assert described(read(archive, "1/nm", range(start, stop))) == whole[start:stop]
    with pytest.raises(ReadError, match=f"holds {len(whole)} curves"):
        read(archive, frames=range(len(whole), len(whole) + 1))


@pytest.mark.skipif(not SERIES.is_file(), reason="the measured series is not there")
def test_a_measured_series_is_read_from_its_archive_as_from_its_folder(tmp_path):
    with tarfile.open(SERIES) as archive:
        archive.extractall(tmp_path / "frames", filter="data")
    found = read(SERIES, frames=range(242))
    expected = [
        sample
        for source in discover([tmp_path / "frames"])
        if source.path.suffix == ".dat"
        for sample in read(source)
    ]
    assert len(found) == 242
    assert numbers(found) == numbers(expected)
    assert [s.id.split("/")[1] for s in found] == [Path(s.origin.source).name for s in expected]
    # The UV traces beside the frames are a table that is no curve.
    assert extent(SERIES).curves == 243
    assert extent(SERIES).points < 3000
    assert reason(SERIES).startswith("member 'PREFIX1_UV.txt' holds a table of 358 columns")


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_curve_has_the_id_of_its_file(tmp_path, ending):
    path = tmp_path / f"curve.dat.{ending}"
    path.write_bytes(COMPRESSIONS[ending](text()))
    (tmp_path / "curve.dat").write_bytes(text())
    [found] = read(path)
    assert (found.id, found.origin.source, found.origin.format) == (path.name, str(path), "text")
    assert numbers([found]) == numbers(read(tmp_path / "curve.dat"))


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_stack_has_the_ids_of_its_frames(mixed, tmp_path, ending):
    path = tmp_path / f"stack.{ending}"
    path.write_bytes(COMPRESSIONS[ending]((mixed / "d.h5").read_bytes()))
    assert [s.id for s in read(path, frames=range(1, 3))] == [f"{path.name}#1", f"{path.name}#2"]
    assert numbers(read(path)) == numbers(read(mixed / "d.h5"))


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_streams_that_follow_each_other_are_one_file(tmp_path, ending):
    path = tmp_path / f"curve.{ending}"
    compress, content = COMPRESSIONS[ending], text()
    path.write_bytes(compress(content[:500]) + compress(content[500:]) + bytes(8))
    assert len(read(path)[0].q) == 40
    path.write_bytes(compress(content) + b"behind")
    assert "damaged" in reason(path)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_method_of_zip_is_read(tmp_path, method):
    large = text() * 3000
    path = pack(tmp_path / "a.zip", {"a.dat": text(), "b.dat": large}, method)
    assert [len(s.q) for s in read(path, frames=range(1))] == [40]
    archived = packed._opened(path)
    [_, member] = [entry.member for entry in archived._entries]
    assert b"".join(member.content(archived._file)) == large


def test_an_unknown_method_of_zip_is_named(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.dat": text(), "b.dat": text()})
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 10 : place + 12] = struct.pack("<H", 9)
    path.write_bytes(content)
    assert reason(path) == "member 'a.dat' is packed by the method 9 of zip: pack it as deflated"
    assert len(read(path, frames=range(1, 2))) == 1


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_in_every_form_of_tar_are_whole(tmp_path, form):
    name = "/".join(["folder" * 5] * 4) + "/" + "curve" * 15 + ".dat"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(text())
        archive.addfile(info, io.BytesIO(text()))
        info = tarfile.TarInfo("z.dat")
        info.size = len(text())
        archive.addfile(info, io.BytesIO(text()))
    assert [s.id for s in read(tmp_path / "a.tar")] == [f"a.tar/{name}", "a.tar/z.dat"]


def test_what_the_tar_program_writes_is_read(mixed, tmp_path):
    tar = shutil.which("tar")
    if tar is None:
        pytest.skip("there is no tar program")
    for form in ("v7", "oldgnu", "gnu", "ustar", "posix"):
        path = tmp_path / f"{form}.tar"
        subprocess.run([tar, f"--format={form}", "-cf", path, "."], cwd=mixed, check=True)
        assert numbers(read(path)) == numbers(curves_of_folder(mixed))


def test_a_sparse_member_of_a_tar_is_refused_and_those_behind_it_are_read(tmp_path):
    tar = shutil.which("tar")
    if tar is None:
        pytest.skip("there is no tar program")
    with (tmp_path / "a.dat").open("wb") as file:
        for k in range(40):
            file.seek(k * 2**18)
            file.write(b"1 2 3\n" * 700)
    (tmp_path / "b.dat").write_bytes(text())
    for form in ("gnu", "posix"):
        path = tmp_path / f"{form}.tar"
        names = ["a.dat", "b.dat"]
        subprocess.run(
            [tar, f"--format={form}", "--hole-detection=raw", "-Scf", path, *names],
            cwd=tmp_path,
            check=True,
        )
        held = extent(path).curves
        assert "is stored with holes" in reason(path, range(held - 1)) or form == "posix"
        assert read(path, frames=range(held - 1, held))[0].id.endswith("b.dat")


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_files_folders_and_links_are_left_out_as_in_a_folder(tmp_path, kind):
    members = {".hidden": text(), "a/.b/c.dat": text(), "__MACOSX/a.dat": text(), "a.dat": text()}
    path = pack(tmp_path / f"x.{kind}", members)
    assert [s.id for s in read(path)] == [f"x.{kind}/a.dat"]
    del members["a.dat"]
    path = pack(tmp_path / f"y.{kind}", members)
    assert reason(path) == "is an archive without files, or with hidden ones alone"


def test_links_and_devices_in_a_tar_and_links_in_a_zip_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"{kind[0]}.dat")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("z.dat")
        info.size = len(text())
        archive.addfile(info, io.BytesIO(text()))
    assert [s.id for s in read(tmp_path / "a.tar")] == ["a.tar/z.dat"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.dat")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder")
        archive.writestr("z.dat", text())
    assert [s.id for s in read(tmp_path / "a.zip")] == ["a.zip/z.dat"]


def test_of_two_files_of_one_name_the_last_one_is_there_as_after_unpacking(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, scale in (("a.dat", 1.0), ("./a.dat", 2.0)):
            info = tarfile.TarInfo(name)
            info.size = len(text(scale))
            archive.addfile(info, io.BytesIO(text(scale)))
    [found] = read(tmp_path / "a.tar")
    assert found.intensity[0] == 2.0 / Q[0]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "name",
    ["../../evil", "/evil", "a/../../evil", "..\\..\\evil", "C:/evil", "//evil", "./../evil"],
)
def test_names_that_lead_out_of_the_archive_are_harmless(mixed, tmp_path, kind, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    path = pack(outside / f"x.{kind}", {name: (mixed / "b.npz").read_bytes(), "z.dat": text()})
    before = sorted(tmp_path.parent.rglob("*evil*"))
    found = read(path)
    # To a tar archive, as to a folder, a backslash is a letter, and that name is hidden.
    assert len(found) == (1 if kind == "tar" and "\\" in name else 6)
    inside = {s.id.split("#")[0].removeprefix(f"x.{kind}/") for s in found}
    assert not any(name.startswith("/") or ".." in name.split("/") for name in inside)
    assert sorted(tmp_path.parent.rglob("*evil*")) == before
    assert not Path("/evil").exists()


def test_names_that_are_no_text_stay_apart(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("\udce4.dat", "\udcf6.dat"):
            info = tarfile.TarInfo(name)
            info.size = len(text())
            archive.addfile(info, io.BytesIO(text()))
    ids = [s.id for s in read(tmp_path / "a.tar")]
    assert len(set(ids)) == 2
    assert all(curve_id.encode("utf-8") for curve_id in ids)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_files_says_so(tmp_path, kind):
    path = pack(tmp_path / f"empty.{kind}", {})
    found = reason(path)
    assert found == {
        "zip": "is an archive without files, or with hidden ones alone",
        "tar": "is a binary file of an unknown format: expected text, HDF5, NumPy or canSAS1D",
    }.get(kind, found)


def test_a_member_that_is_no_curve_is_named_and_spoils_no_other(tmp_path):
    members = {
        "a.dat": text(),
        "README.txt": b"what this is about\n",
        "empty.dat": b"",
        "image.png": b"\x89PNG\r\n\x1a\n",
        "inner.zip": pack(tmp_path / "inner.zip", {"a.dat": text()}).read_bytes(),
        "letter.docx": pack(tmp_path / "b.zip", {"[Content_Types].xml": b"x"}).read_bytes(),
        "stack.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "z.dat": text(),
    }
    path = pack(tmp_path / "x.tar.gz", members)
    assert extent(path).curves == 8
    names = sorted(members)
    said = {}
    for frame, name in enumerate(names):
        try:
            [sample] = read(path, frames=range(frame, frame + 1))
            assert sample.id == f"x.tar.gz/{name}"
        except ReadError as error:
            said[name] = str(error)
    assert sorted(said) == names[:1] + names[2:-1]
    assert said["README.txt"].startswith("member 'README.txt' is text without numbers: ")
    assert said["empty.dat"] == "member 'empty.dat' is empty"
    assert said["image.png"] == "member 'image.png' is a PNG image"
    assert said["inner.zip"] == "member 'inner.zip' is packed twice: unpack the outer one first"
    assert said["letter.docx"] == ("member 'letter.docx' is an office document: export it as text")
    assert said["stack.h5"].startswith("member 'stack.h5' is a damaged HDF5 file")
    assert tempfile.gettempdir() not in said["stack.h5"]
    assert reason(path).startswith("member ")


def test_a_large_file_without_a_curve_does_not_count_as_a_long_curve(tmp_path):
    members = {f"{k}.dat": text() for k in range(5)}
    usual = extent(pack(tmp_path / "a.zip", members)).points
    words = b"much was done and little was measured\n" * 10_000
    path = pack(tmp_path / "b.zip", members | {"log.txt": words})
    assert extent(path).points == usual
    path = pack(tmp_path / "c.zip", members | {"long.dat": text() + words + text()})
    assert extent(path).points == usual
    long = b"".join(b"%.4f 1.5\n" % (0.1 + k / 1e4) for k in range(20_000))
    path = pack(tmp_path / "d.zip", members | {"long.dat": long})
    assert extent(path).points == 20_000


def test_what_is_packed_twice_is_refused(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(lzma.compress(text())))
    assert reason(path) == "is packed twice: unpack the outer one first"
    path.write_bytes(gzip.compress(pack(tmp_path / "a.zip", {"a": text()}).read_bytes()))
    assert reason(path) == "is packed twice: unpack the outer one first"


def test_office_documents_and_other_archives_are_refused_with_their_sentences(tmp_path):
    sheet = {"_rels/.rels": b"<x/>", "[Content_Types].xml": b"<x/>", "xl/sheet.xml": b"<x/>"}
    document = {"mimetype": b"application/vnd.oasis", "META-INF/manifest.xml": b"<x/>"}
    office = "is an office document: export it as text"
    assert reason(pack(tmp_path / "a.zip", sheet)) == office
    assert reason(pack(tmp_path / "b.zip", document)) == office
    for content, sentence in {
        b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
        b"7z\xbc\xaf\x27\x1c": "is a 7z archive: unpack it first",
        b"Rar!\x1a\x07\x00": "is a RAR archive: unpack it first",
    }.items():
        (tmp_path / "other").write_bytes(content + bytes(100))
        assert reason(tmp_path / "other") == sentence


def test_a_zip_with_a_password_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.dat": text()})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert reason(path) == "is a zip archive with a password: unpack it first"


def test_a_text_that_begins_with_the_letters_of_bzip2_is_read_as_text(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"BZh9 sample\n" + text())
    assert len(read(tmp_path / "a.dat")[0].q) == 40


def test_a_stream_that_becomes_too_large_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(packed_bytes, "HARMLESS", 2**20)
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(bytes(2**24)))
    assert reason(path) == (
        "is compressed with xz, but it unpacks to more than 1,000 times its size, as measured "
        "curves never do: unpack it by hand if that is right"
    )
    monkeypatch.setattr(packed_bytes, "LARGEST_UNPACKED", 2**19)
    assert "but it unpacks to more than 0 GiB: unpack it by hand" in reason(path)


def test_a_zip_that_declares_too_much_is_refused_before_anything_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    pack(path, {"a.dat": text(), "b.dat": text()})
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    monkeypatch.setattr(packed_bytes.OpenFile, "pieces", None)
    assert reason(path).startswith("unpacks to more than 1,000 times its size")


@pytest.mark.parametrize("declared", [0, 10, 100_000])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_member_that_is_not_as_large_as_declared_is_damaged(tmp_path, declared, method):
    path = pack(tmp_path / "a.zip", {"a.dat": text(), "b.dat": text()}, method)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", declared)
    path.write_bytes(content)
    assert "is damaged: it declares" in reason(path, range(1))
    assert len(read(path, frames=range(1, 2))) == 1


def test_a_file_without_a_name_in_a_zip_is_left_out(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": text(), "b.dat": text()})
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02")
    assert content[place + 46 : place + 47] == b"a"
    path.write_bytes(content[: place + 46] + b"\x00" + content[place + 47 :])
    assert [s.id for s in read(path)] == ["a.zip/b.dat"]


def test_a_wrong_checksum_in_a_zip_is_noticed(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.dat": text()}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"0.05")] = ord("1")
    path.write_bytes(content)
    assert reason(path) == "member 'a.dat' is damaged: its checksum is wrong"


def test_a_member_too_large_for_one_curve_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "LARGEST_FILE", 2**20)
    path = pack(tmp_path / "a.tar", {"a.dat": text() * 1000, "b.dat": text()})
    assert reason(path) == "member 'a.dat' is of more than 1 MiB: expected one curve"
    assert len(read(path, frames=range(1, 2))) == 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_files_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(packed_members, "MOST_MEMBERS", 3)
    path = pack(tmp_path / f"a.{kind}", {f"{k}.dat": text() for k in range(4)})
    assert reason(path) == "holds more than 3 files: unpack it by hand"
    monkeypatch.setattr(packed_members, "_LARGEST_DIRECTORY", 100)
    if kind == "zip":
        assert reason(path) == "lists more than 3 files: unpack it by hand"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_off_anywhere_is_refused_as_a_whole(tmp_path, kind):
    members = {f"{k}.dat": text(k + 1.0) for k in range(3)}
    content = pack(tmp_path / f"whole.{kind}", members).read_bytes()
    if kind == "tar":
        # Behind the last curve there is nothing but the mark of the end, and padding.
        content = content[: 3 * (512 + -(-len(text(1.0)) // 512) * 512) + 512]
    path = tmp_path / f"cut.{kind}"
    for length in {*range(600, len(content), max(1, len(content) // 97)), len(content) - 1}:
        path.write_bytes(content[:length])
        packed._opening.cache_clear()
        with pytest.raises(ReadError):
            extent(path)
        with pytest.raises(ReadError):
            read(path)


def test_a_damaged_header_in_a_tar_does_not_end_it_silently(tmp_path):
    path = pack(tmp_path / "a.tar", {f"{k}.dat": text(points=5) for k in range(3)})
    content = bytearray(path.read_bytes())
    content[content.index(b"1.dat")] ^= 1
    path.write_bytes(content)
    assert reason(path) == "is a damaged tar archive: at byte 1,024 there is no header"


def outcome(path):
    """Samples or a reason; anything else that is raised goes through."""
    try:
        held = extent(path).curves
        return read(path, "1/nm", range(min(held, 50)))
    except ReadError as error:
        return str(error)


SMALL = {"a.dat": text(points=6), "b.dat": text(points=7), "c/d.dat": text(points=8)}


@pytest.mark.parametrize("kind", [*KINDS, "zip-bzip2", "zip-lzma", "zip-stored", "gz", "npz"])
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_archives_give_samples_or_a_reason(tmp_path_factory, kind, data):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(small(folder, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)) | st.just(len(content)))]
    path = folder / f"damaged-{kind}"
    path.write_bytes(content)
    packed._opening.cache_clear()
    assert outcome(path)


def small(folder, kind):
    if kind == "gz":
        return gzip.compress(text())
    if kind == "npz":
        np.savez(folder / "a.npz", q=Q, intensity=np.outer([1.0, 2.0], 1 / Q))
        return pack(folder / "n.zip", {"a": (folder / "a.npz").read_bytes()}).read_bytes()
    methods = {
        "zip-bzip2": zipfile.ZIP_BZIP2, "zip-lzma": zipfile.ZIP_LZMA, "zip-stored": 0,
    }  # fmt: skip
    path = folder / ("small.zip" if kind in methods else f"small.{kind}")
    return pack(path, SMALL, methods.get(kind, zipfile.ZIP_DEFLATED)).read_bytes()


@settings(max_examples=100)
@given(st.sampled_from([*packed_bytes.STREAMS, b"PK\x03\x04", b"PK\x05\x06"]), st.binary())
def test_random_bytes_behind_a_magic_give_a_reason(tmp_path_factory, magic, content):
    path = tmp_path_factory.getbasetemp() / "random-packed"
    path.write_bytes(magic + content)
    packed._opening.cache_clear()
    assert outcome(path)


def repaired(header):
    """Header of a tar with the sum that its other bytes have."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    return header


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_tar_headers_with_right_sums_give_samples_or_a_reason(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    members = {"n" * 120 + ".dat": text(points=6), "a.dat": text(points=6)}
    content = bytearray(pack(folder / "fuzzed.tar", members).read_bytes())
    block = 512 * data.draw(st.integers(0, 6))
    header = content[block : block + 512]
    for _ in range(data.draw(st.integers(1, 4))):
        field = data.draw(
            st.sampled_from([(0, 12), (124, 136), (156, 157), (257, 265), (476, 512)])
        )
        place = data.draw(st.integers(field[0], field[1] - 1))
        header[place] = data.draw(st.sampled_from(list(b"07LKxgS\x00\x80\xff/. ")))
    content[block : block + 512] = repaired(header)
    path = folder / "fuzzed"
    path.write_bytes(content)
    packed._opening.cache_clear()
    assert outcome(path)


def test_threads_read_slices_of_one_archive_at_once(archive, monkeypatch):
    monkeypatch.setattr(packed, "LARGEST_KEPT", 1)
    opened = []
    monkeypatch.setattr(
        packed, "_open", lambda path, open=packed._open: opened.append(1) or open(path)
    )
    with ThreadPoolExecutor(4) as pool:
        frames = [range(k, k + 1) for k in range(extent(archive).curves)] * 8
        packed._opening.cache_clear()
        opened.clear()
        found = list(pool.map(lambda part: described(read(archive, frames=part)), frames))
    assert len(opened) == 1
    assert found[: len(found) // 8] * 8 == found
    assert [one for [one] in found[: len(found) // 8]] == described(read(archive))


def test_unpacked_members_are_kept_within_a_limit_and_removed_with_the_archive(
    archive, monkeypatch, temporary
):
    before = read(archive)
    assert len(list(temporary.iterdir())) == 3
    packed._opening.cache_clear()
    gc.collect()
    assert list(temporary.iterdir()) == []
    monkeypatch.setattr(packed, "LARGEST_KEPT", 1)
    assert described(read(archive)) == described(before)
    assert len(list(temporary.iterdir())) == 1


@pytest.mark.parametrize("end", ["", "; 1 / 0"])
def test_nothing_is_left_when_the_process_ends(mixed, tmp_path, end):
    path = pack(tmp_path / "a.tar.gz", contents(mixed))
    assert files_of_another_process(path, tmp_path, end) == ("3\n", [])


def test_nothing_is_left_of_a_compressed_archive_of_texts_when_the_process_is_killed(tmp_path):
    path = pack(tmp_path / "a.tar.gz", SMALL)
    assert files_of_another_process(path, tmp_path, "; os.kill(os.getpid(), 9)") == ("0\n", [])


def files_of_another_process(path, folder, end):
    """How many temporary files a process has that reads a file, and what is left behind it."""
    place = folder / "elsewhere"
    place.mkdir()
    code = (
        "import os, sys, gpusaxs.io as io; io.read(sys.argv[1]); "
        "print(len(os.listdir(os.environ['TMPDIR'])), flush=True)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code + end, path],
        env=os.environ | {"TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout, list(place.iterdir())


def test_an_archive_that_is_replaced_is_read_anew(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.dat": text()})
    assert len(read(path)) == 1
    pack(tmp_path / "b.zip", {"a.dat": text(2.0), "b.dat": text()})
    (tmp_path / "b.zip").replace(path)
    assert [s.intensity[0] for s in read(path)] == [2.0 / Q[0], 1.0 / Q[0]]


def test_a_full_disk_is_a_reason(archive, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed_bytes, "_write_all", full)
    path = archive
    held = extent(path).curves if path.suffix in (".zip", ".tar") else 1
    found = [outcome_of_frame(path, frame) for frame in range(held)]
    assert any("No space left on device): set TMPDIR" in str(one) for one in found)


def outcome_of_frame(path, frame):
    try:
        return read(path, frames=range(frame, frame + 1))
    except ReadError as error:
        return str(error)


def test_a_bad_member_is_found_without_reading_the_others_again_and_again(tmp_path, monkeypatch):
    members = {f"{k:03}.dat": text(k + 1.0) for k in range(256)} | {"200.dat": b"no numbers\n"}
    path = pack(tmp_path / "a.zip", members)
    contents_read = []
    content = packed_members.Member.content
    extent(path)
    monkeypatch.setattr(
        packed_members.Member,
        "content",
        lambda member, file: contents_read.append(member.name) or content(member, file),
    )

    def bisect(frames):
        try:
            return len(read(path, frames=frames))
        except ReadError:
            half = len(frames) // 2
            return bisect(frames[:half]) + bisect(frames[half:]) if half else 0

    assert bisect(range(256)) == 255
    assert len(contents_read) <= 2 * 256


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An archive of five simulated curves, with a README and an unreadable stack in the middle."""
    folder = tmp_path_factory.mktemp("measured")
    found = simulate(5, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0)
    members = {}
    for k in range(5):
        buffer = io.BytesIO()
        np.savetxt(buffer, np.column_stack([found.q, found.intensity[k], found.sigma[k]]))
        members[f"curves/{k}.dat"] = buffer.getvalue()
    members["curves/2b README.txt"] = b"five curves\n"
    members["curves/2c.h5"] = b"\x89HDF\r\n\x1a\n"
    plain = {name: members[name] for name in sorted(members)}
    return pack(folder / "measured.zip", plain), pack(folder / "measured.tar.xz", plain)


OPTIONS = {"backend": "numpy", "workers": 1, "q_unit": "1/nm"}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("block_size", [None, 2])
def test_a_run_has_one_row_for_each_member_that_cannot_be_read(
    measured, tmp_path, which, block_size
):
    path = measured[which]
    process_archive([path], tmp_path / "run", block_size=block_size, **OPTIONS)
    run = open_run(tmp_path / "run")
    rows = run.samples.to_pylist()
    name = path.name
    assert [row["id"] for row in rows] == [
        f"{name}/curves/0.dat", f"{name}/curves/1.dat", f"{name}/curves/2.dat",
        f"{name}#3", f"{name}#4", f"{name}/curves/3.dat", f"{name}/curves/4.dat",
    ]  # fmt: skip
    assert [row["status"] == "unreadable" for row in rows] == [False] * 3 + [True] * 2 + [False] * 2
    assert rows[3]["reason"].startswith("member 'curves/2b README.txt' is text without numbers")
    assert [row["frame"] for row in rows] == list(range(7))
    assert run[5].id == f"{name}/curves/3.dat"
    assert len(run[5].q) > 0


def test_a_run_over_a_packed_folder_goes_on_where_it_stopped(measured, tmp_path):
    def stop(progress):
        if progress.blocks == 2:
            raise KeyboardInterrupt

    whole = process_archive([measured[1]], tmp_path / "whole", block_size=2, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        process_archive(
            [measured[1]],
            tmp_path / "run",
            block_size=2,
            executor="serial",
            progress=stop,
            **OPTIONS,
        )
    packed._opening.cache_clear()
    process_archive([measured[1]], tmp_path / "run", block_size=2, resume=True, **OPTIONS)
    assert open_run(tmp_path / "run").samples.equals(open_run(tmp_path / "whole").samples)
    assert whole is not None


def test_a_run_takes_packed_and_plain_files_together(measured, tmp_path):
    (tmp_path / "one.dat.gz").write_bytes(gzip.compress(text()))
    (tmp_path / "two.dat").write_bytes(text())
    files = [measured[0], tmp_path / "one.dat.gz", tmp_path / "two.dat"]
    process_archive(files, tmp_path / "run", **OPTIONS)
    rows = open_run(tmp_path / "run").samples.to_pylist()
    assert [row["id"] for row in rows[-2:]] == ["one.dat.gz", "two.dat"]
    assert len(rows) == 9
