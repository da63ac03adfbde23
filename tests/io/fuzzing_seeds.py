"""Small valid files of every format and layout, from which `fuzzing_mutations` makes damaged ones.

The measured files of ``../shared/data`` are seeds too where they are there and small.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from gpusaxs.io.recognise import HEAD_BYTES, CurveReader, StackReader, reader_for

DATA = Path(__file__).parents[3] / "shared" / "data"
POINTS = 8

Q = np.linspace(0.05, 0.4, POINTS)
INTENSITY = 100.0 * np.exp(-5.0 * Q)
SIGMA = 0.01 * INTENSITY + 0.1
FRAMES = np.array([INTENSITY, 2.0 * INTENSITY, 3.0 * INTENSITY])


class Seed(NamedTuple):
    """A valid file, by a name that says what it is."""

    name: str
    content: bytes


def rows(*columns: NDArray[np.float64], between: str = " ", form: str = "{:.6E}") -> str:
    """Table of numbers as text."""
    return "".join(between.join(map(form.format, row)) + "\n" for row in zip(*columns, strict=True))


def _text_files() -> dict[str, str | bytes]:
    three = rows(Q, INTENSITY, SIGMA)
    header = {
        "filename": "curve_001.tiff",
        "imageHeader": {"Exposure_time": 2.0, "Exposure_date": "2015:11:16 21:19:08"},
        "counters": {"date": "Mon Nov 16 22:19:47 2015", "Seconds": "2"},
        "normalizations": [["/", "diode/259139"]],
        "metadata": {"Concentration (mg/ml)": 5.0},
    }
    raw = f"### DATA:\n\n         Q               I              Error\n{POINTS}\n{three}\n\n"
    raw += f"### HEADER:\n\n{json.dumps(header, indent=4)}\n"
    pyfai = (
        '# {"wavelength": 1e-10, "dist": 1.5, "poni1": 0.01}\n# == pyFAI calibration ==\n'
        "# Distance Sample to Detector: 1.5 m\n# Wavelength: 1e-10 m\n#\n# --> out.dat\n"
        "#       q_nm^-1             I             sigma\n"
    )
    atsas_dat = (
        "Sample description: protein\nSample: glucose isomerase  c= 5.0 mg/ml Code: gi\n"
        + three
        + "creator: primus\ncreator-version: 3.0\nangular-unit: 1/nm\nsample-concentration: 5.0\n"
        "exposure-time: 1.0 s\n"
    )
    gnom = (
        "\n           ####      G N O M             Version 5.0 (r12593)      ####\n"
        "                                               Mon Jul  6 17:04:35 2020\n\n"
        "    Maximum characteristic size:       101.0000\n"
        "    Input  1:                      glucose_isomerase.dat\n"
        "    Angular range:                       0.0101 to       0.2830\n\n"
        "           ####      Experimental Data and Fit                     ####\n\n"
        "      S          J EXP       ERROR       J REG       I REG\n\n"
        "   0.000000E+00                                                0.611794E-01\n"
        "   0.560929E-03                                                0.611722E-01\n"
        + rows(Q, INTENSITY, SIGMA, INTENSITY, INTENSITY, between="   ")
        + "\n           ####      Real Space Data                       ####\n\n"
        "            Distance distribution  function of particle\n\n"
        "       R          P(R)      ERROR\n\n" + three
    )
    bift = (
        "# BIFT\n#      R             P(R)           Error     \n" + three
        + "\n\n#      Q             I(Q)           Error            Fit      \n"
        + rows(Q, INTENSITY, SIGMA, INTENSITY, between="  ")
        + "\n\n#  Q_extrap       Fit_extrap  \n" + rows(Q, INTENSITY) * 2
        + '\n\n### HEADER:\n#\n#{\n#    "algorithm": "BIFT"\n#}\n'
    )  # fmt: skip
    d_columns = (Q, INTENSITY, SIGMA, 0.1 * Q)
    ncnr = (
        "FILE: TEST.SA3    CREATED: 12-OCT-2008 13:45\nLABEL: glassy carbon\n"
        "MON CNT   LAMBDA   DET ANG   DET DIST   TRANS   THICK   AVE   STEP\n"
        "1.0e+08    6.0   0.0   13.0   0.75   0.1   1.0   1.0\n"
        "The 6 columns are | Q (1/A) | I(Q) (1/cm) | std. dev. I(Q) (1/cm) | sigmaQ | meanQ |"
        " ShadowFactor|\n" + rows(*d_columns, Q, Q, between="   ")
    )
    return {
        "two columns": rows(Q, INTENSITY),
        "three columns": three,
        "header": f"# title: a sample\n# q(1/A)\tI(q)\tsigma\n{three}# end\n",
        "csv": "q,I,sigma\n" + rows(Q, INTENSITY, SIGMA, between=","),
        "decimal commas": rows(Q, INTENSITY, SIGMA, between=";").replace(".", ","),
        "stars": three.replace(three.split()[4], "*******", 1).replace("E", "D"),
        "four labelled columns": "#  Q  I  dI  dQ\n" + rows(*d_columns),
        "utf-16": ("q_A-1 I\n" + rows(Q, INTENSITY)).encode("utf-16"),
        "latin-1": ("# q [Å^-1] °C\n" + three).encode("latin-1"),
        "carriage returns": three.replace("\n", "\r"),
        "RAW": raw,
        "RAW without a footer": raw.partition("###")[0] + raw.partition("### HEADER")[0],
        "pyFAI": pyfai + rows(Q, INTENSITY, SIGMA, between="    "),
        "ATSAS .dat": atsas_dat,
        "ATSAS .fit": "  Dro:  0.019 Rg: 33.22 Vol: 213838. Chi^2: 1.089\n"
        + rows(Q, INTENSITY, SIGMA, INTENSITY, between="   "),
        "ATSAS .fit of three columns": "# SAXS profile: q  exp_intensity  model\n"
        + rows(Q, INTENSITY, INTENSITY, between="   "),
        "ATSAS .int": " Dif/Atom/Shape/Bord 1XIB_4mer.pd Dro:  0.030 Ra: 1.6099 Rg: 33.04\n"
        + rows(Q, *[INTENSITY] * 4, between="  "),
        "ATSAS .out": gnom,
        "RAW .ift": bift,
        "FoXS": "# SAXS profile: number of points = 8, q_min = 0, q_max = 0.5\n"
        "#    q       intensity      error\n" + three,
        "NCNR": ncnr,
        "angle": "# two_theta I\n" + rows(10.0 * Q, INTENSITY),
        "image": rows(*[INTENSITY] * 20),
        "whole numbers": rows(np.arange(POINTS), INTENSITY, form="{:.0f}"),
    }


def _pdh_files() -> dict[str, str]:
    count = f"{POINTS:9d}" + "         0" * 7 + " \n"
    wavelength = "  0.000000E+00   3.068000E+02   0.000000E+00   1.050985E+04   1.542000E-01 \n"
    head = f"a title\nSAXS BOX   \n{count}{wavelength}" + "  0.000000E+00" * 5 + " \n"
    trailer = (
        '<?xml version="1.0" encoding="utf-8"?>\n<fileinfo version="3.80">\n  <column key="X">\n'
        '    <value key="quantity">SCATTERING_VECTOR</value>\n    <value key="unit">n_m^-1</value>'
        '\n  </column>\n  <parameter key="P"><value key="unit">m_m</value></parameter>\n'
        '  <value key="ExposureTime" type="Double" unit="s">600</value>\n</fileinfo>\n'
    )
    table = rows(Q, INTENSITY, SIGMA, between="   ")
    return {
        "pdh": head + table + trailer,
        "pdh without a trailer": head + table,
        "pdh of two columns": head + rows(Q, INTENSITY, between="   "),
        "pdh in other spellings": (head + table).replace("\n", "\r\n"),
    }


def _idata(unit: str, *, whole: bool) -> str:
    columns = zip(Q, INTENSITY, SIGMA, strict=True)
    if whole:
        return "".join(
            f'<Idata><Q unit="{unit}">{q:.5g}</Q><I unit="1/cm">{i:.5g}</I>'
            f'<Idev unit="1/cm">{s:.5g}</Idev><Qdev unit="{unit}">0.01</Qdev></Idata>\n'
            for q, i, s in columns
        )
    return "".join(f'<Idata><Q unit="{unit}">{q}</Q><I unit="a.u.">{i}</I></Idata>' for q, i, _ in
                   columns)  # fmt: skip


def _xml_files() -> dict[str, str | bytes]:
    sample = (
        '<SASsample name="my sample"><ID>SI600</ID><thickness unit="mm">1.03</thickness>'
        '<transmission>0.327</transmission><temperature unit="C">25.0</temperature></SASsample>\n'
    )
    rest = (
        "<SASinstrument><name>instrument</name><SASsource><radiation>neutron</radiation>"
        '<wavelength unit="A">6.0</wavelength></SASsource></SASinstrument><SASnote>x</SASnote>\n'
    )

    def root(version: str, *entries: str) -> str:
        space = {"1.0": "cansas1d/1.0", "1.1": "urn:cansas1d:1.1"}[version]
        inner = "".join(f"<SASentry>{entry}</SASentry>" for entry in entries)
        return (
            f'<?xml version="1.0"?>\n<?xml-stylesheet type="text/xsl" href="a.xsl"?>\n'
            f'<SASroot version="{version}" xmlns="{space}">\n{inner}</SASroot>\n'
        )

    plain = f"<Title>a title</Title><Run>1</Run><SASdata>{_idata('1/A', whole=True)}</SASdata>"
    other = f"<Title>second</Title><SASdata name='b'>{_idata('1/nm', whole=False)}</SASdata>"
    two = plain + f"<SASdata name='two'>{_idata('1/A', whole=False)}</SASdata>"
    prefixed = root("1.1", plain + sample).replace("<SAS", "<c:SAS").replace("</SAS", "</c:SAS")
    prefixed = prefixed.replace("xmlns=", "xmlns:c=")
    utf_16 = root("1.0", plain).replace('version="1.0"?', 'version="1.0" encoding="UTF-16"?')
    return {
        "canSAS 1.0": root("1.0", plain + sample + rest),
        "canSAS 1.1": root("1.1", plain + sample + rest),
        "canSAS of several entries": root("1.1", two + sample, other, plain),
        "canSAS with prefixes": prefixed,
        "canSAS in UTF-16": utf_16.encode("utf-16"),
    }


def saved(array: NDArray[Any]) -> bytes:
    """Content of a ``.npy`` file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Content of a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def tarred(members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Content of a tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    # Of the empty blocks behind the members, two are enough.
    return file.getvalue().rstrip(b"\x00").ljust(1, b"\x00") + bytes(1536)


def _numpy_files() -> dict[str, bytes]:
    table = np.array([Q, INTENSITY, SIGMA])
    stack = np.array([[Q, row, SIGMA] for row in FRAMES])
    own_q = np.array([Q, 2 * Q, Q])
    arrays = {"q.npy": saved(Q), "intensity.npy": saved(FRAMES), "sigma.npy": saved(0.1 * FRAMES)}
    with_unit = {"q.npy": saved(Q), "I.npy": saved(INTENSITY), "unit.npy": saved(np.array("1/A"))}
    frames_q = {"q.npy": saved(own_q), "intensity.npy": saved(FRAMES.astype(">f4"))}
    return {
        ".npy": saved(table),
        ".npy of rows": saved(np.asfortranarray(table.T)),
        ".npy of a stack": saved(stack),
        ".npy of float32": saved(stack[:, :2].astype(np.float32)),
        ".npy of integers": saved(np.rint(100 * table).astype(np.int16)),
        ".npz": zipped(arrays),
        ".npz compressed": zipped(arrays, zipfile.ZIP_DEFLATED),
        ".npz with a unit": zipped(with_unit),
        ".npz with a q each": zipped(frames_q, zipfile.ZIP_DEFLATED),
    }


def hdf5(fill: Callable[[h5py.File], None], libver: str | None = None) -> bytes:
    """Content of an HDF5 file."""
    image = io.BytesIO()
    with h5py.File(image, "w", libver=libver) as file:
        fill(file)
    return image.getvalue()


def _nxcansas(file: h5py.File) -> None:
    file.attrs["default"] = "entry"
    entry = file.create_group("entry")
    entry.attrs.update({"NX_class": "NXentry", "canSAS_class": "SASentry", "version": "1.1"})
    entry["title"] = "a title"
    entry["run"] = "1"
    data = entry.create_group("sasdata")
    data.attrs.update(
        {"NX_class": "NXdata", "canSAS_class": "SASdata", "signal": "I", "I_axes": "Q",
         "Q_indices": 0}
    )  # fmt: skip
    data["Q"], data["I"], data["Idev"] = Q, INTENSITY, SIGMA
    data["Q"].attrs["units"] = "1/angstrom"
    data["I"].attrs.update({"units": "1/cm", "uncertainties": "Idev"})
    sample = entry.create_group("sassample")
    sample.attrs.update({"NX_class": "NXsample", "canSAS_class": "SASsample"})
    sample["name"], sample["transmission"], sample["thickness"] = "a sample", 0.5, 1.0
    sample["thickness"].attrs["units"] = "mm"


def _nxcansas_stack(file: h5py.File) -> None:
    entry = file.create_group("entry")
    entry.attrs.update({"NX_class": "NXentry", "canSAS_class": "SASentry"})
    data = entry.create_group("data")
    data.attrs.update(
        {"canSAS_class": "SASdata", "signal": "I", "I_axes": ["frame", "Q"], "Q_indices": 1}
    )
    options = {"chunks": (2, POINTS), "compression": "gzip", "shuffle": True, "fletcher32": True}
    data.create_dataset("I", data=FRAMES, **options)
    data.create_dataset("Idev", data=0.1 * FRAMES.astype(np.float32), compression="lzf")
    data["Q"] = h5py.SoftLink("/entry/instrument/q")
    data["frame_name"] = ["a", "b", "c"]
    instrument = entry.create_group("instrument")
    instrument.attrs["NX_class"] = "NXinstrument"
    instrument["q"] = Q
    instrument["q"].attrs["units"] = "1/nm"
    detector = instrument.create_group("detector")
    detector.attrs["NX_class"] = "NXdetector"
    detector["count_time"] = [1.0, 2.0, 3.0]
    detector["count_time"].attrs["units"] = "s"


def _nxdata(file: h5py.File) -> None:
    file.attrs["default"] = "entry"
    entry = file.create_group("entry")
    entry.attrs.update({"NX_class": "NXentry", "default": "data"})
    entry["program_name"] = "pyFAI"
    entry["start_time"] = "2024-10-11T17:54:52"
    data = entry.create_group("data")
    data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": [".", "q"]})
    data["data"], data["data_errors"], data["q"] = FRAMES, 0.1 * FRAMES, Q
    data["q"].attrs.update({"units": "1/nm", "long_name": "Scattering vector $q$ ($nm^{-1}$)"})
    data["data"].attrs["interpretation"] = "spectrum"


def _old_nxdata(file: h5py.File) -> None:
    """Before NXdata had attributes of its own, the signal and its axes were marked."""
    entry = file.create_group("entry")
    entry.attrs["NX_class"] = np.bytes_("NXentry")
    data = entry.create_group("data")
    data.attrs["NX_class"] = np.bytes_("NXdata")
    data["counts"], data["q"] = INTENSITY.astype(">f4"), Q
    data["counts"].attrs.update({"signal": 1, "axes": np.bytes_("q")})
    data["q"].attrs.update({"axis": 1, "units": np.bytes_("1/nm")})


def _raw_series(file: h5py.File, own_q: bool = False) -> None:
    file.attrs.update({"file_type": "RAW_Series", "raw_version": "2.1.0", "series_type": ""})
    profiles = file.create_group("profiles")
    profiles.attrs["profile_type"] = "input"
    said = {"filename": "a_001.tiff", "counters": {"date": "Sat Nov 14 15:03:25 2015"},
            "imageHeader": {"Exposure_time": "1.0000000 s"}}  # fmt: skip
    for number, frame in enumerate(FRAMES):
        columns = [Q, frame, SIGMA] if own_q else [frame, SIGMA]
        profiles[f"{number:06d}"] = np.array(columns).T
        profiles[f"{number:06d}"].attrs["parameters"] = json.dumps(said)
    if not own_q:
        profiles["q"] = Q
    profiles.create_group("raw")["q"] = Q
    file["times"] = np.arange(3.0)


def _hdf5_files() -> dict[str, bytes]:
    return {
        "NXcanSAS": hdf5(_nxcansas),
        "NXcanSAS of the latest library": hdf5(_nxcansas, "latest"),
        "NXcanSAS stack": hdf5(_nxcansas_stack),
        "NXdata": hdf5(_nxdata),
        "old NXdata": hdf5(_old_nxdata),
        "RAW series": hdf5(_raw_series),
        "RAW series with a q each": hdf5(lambda file: _raw_series(file, own_q=True)),
    }


def _packed_files() -> dict[str, bytes]:
    text = rows(Q, INTENSITY, SIGMA).encode()
    several = {"a.dat": text, "sub/b.dat": text, ".hidden": b"x"}
    mixed = several | {"c.npy": _numpy_files()[".npy of a stack"], "d.h5": hdf5(_nxcansas)}
    tar = tarred(several)
    return {
        "zip": zipped(several, zipfile.ZIP_DEFLATED),
        "zip, stored": zipped(mixed),
        "zip by bzip2": zipped(several, zipfile.ZIP_BZIP2),
        "zip by LZMA": zipped(several, zipfile.ZIP_LZMA),
        "tar": tar,
        "tar of several formats": tarred(mixed),
        "tar of POSIX": tarred(several | {"ö" * 120: text}, tarfile.PAX_FORMAT),
        "tar.gz": gzip.compress(tar, 1, mtime=0),
        "tar.xz": lzma.compress(tar, preset=0),
        "tar.bz2": bz2.compress(tar, 1),
        "gz": gzip.compress(text, 1, mtime=0),
        "xz": lzma.compress(text, preset=0),
        "bz2 of a stack": bz2.compress(_numpy_files()[".npy of a stack"], 1),
        "gz of HDF5": gzip.compress(hdf5(_nxcansas), 1, mtime=0),
    }


@cache
def made() -> tuple[Seed, ...]:
    """All seeds that are made by code."""
    files: dict[str, str | bytes] = {
        **_text_files(), **_pdh_files(), **_xml_files(), **_numpy_files(), **_hdf5_files(),
        **_packed_files(),
    }  # fmt: skip
    return tuple(
        Seed(name, content.encode() if isinstance(content, str) else content)
        for name, content in files.items()
    )


def measured(largest: int) -> Iterator[Seed]:
    """Measured files of at most as many bytes, of each folder some."""
    folders: dict[tuple[Path, str], int] = {}
    for path in sorted(DATA.rglob("*")):
        kind = (path.parent, path.suffix)
        if path.is_file() and path.stat().st_size <= largest and folders.get(kind, 0) < 6:
            folders[kind] = folders.get(kind, 0) + 1
            yield Seed(path.name, path.read_bytes())


def seeds(reader: CurveReader | StackReader, largest: int = 0) -> list[Seed]:
    """Seeds that a reader is chosen for: those made, and the measured ones up to a size."""
    return [
        seed
        for seed in (*made(), *measured(largest))
        if seed.content and reader_for(seed.content[:HEAD_BYTES]) is reader
    ]
