"""The resolution of q that files give becomes two numbers of the metadata."""

import re
from pathlib import Path

import h5py
import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import read_table
from gpusaxs.archive.from_run import reprocess_run
from gpusaxs.archive.run import process_archive
from gpusaxs.io import read
from gpusaxs.io.columns import columns_of
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.io.resolution import resolution_of
from gpusaxs.pipeline import Pipeline

FORMATS = Path(__file__).parents[3] / "shared" / "data" / "formats"
TO_FWHM = 2.3548200450309493
BOTH = ("resolution", "relative_resolution")
Q = np.geomspace(0.05, 5.0, 40)

needs_files = pytest.mark.skipif(
    not FORMATS.is_dir(), reason="the measured data are not there: ../shared/data"
)


def deviation(constant, relative, q=Q):
    """Standard deviation of q whose FWHM has these two parts."""
    return np.hypot(constant, relative * q) / TO_FWHM


def told(sample):
    return tuple(sample.origin.metadata.get(name) for name in BOTH)


def by_scipy(q, dq):
    """Both numbers by another solver; q and dq in 1/nm."""
    known = (q > 0.0) & (dq > 0.0)
    squares = (TO_FWHM * dq[known]) ** 2
    design = np.stack([1.0 / squares, q[known] ** 2 / squares], axis=1)
    scale = design.max(axis=0)
    factors, _ = nnls(design / scale, np.ones(len(squares)))
    return tuple(np.sqrt(factors / scale))


# The two numbers.


@pytest.mark.parametrize(("constant", "relative"), [(0.03, 0.1), (0.03, 0.0), (0.0, 0.1)])
def test_what_a_divergence_and_a_spread_of_wavelengths_make_comes_back(constant, relative):
    [found] = resolution_of(Q, deviation(constant, relative))
    assert tuple(found.values()) == pytest.approx((constant, relative), rel=1e-6, abs=1e-7)


positive = st.floats(1e-3, 1e3)


@given(
    st.integers(2, 30).flatmap(
        lambda n: st.tuples(
            arrays(float, n, elements=positive), arrays(float, n, elements=positive)
        )
    )
)
def test_they_are_the_non_negative_least_squares_relative_to_the_column(columns):
    q, dq = columns
    [found] = resolution_of(q, dq)

    def misfit(constant, relative):
        return np.sum(((constant**2 + (relative * q) ** 2) / (TO_FWHM * dq) ** 2 - 1.0) ** 2)

    expected = misfit(*by_scipy(q, dq))
    assert misfit(*found.values()) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_points_without_a_positive_number_do_not_count():
    dq = deviation(0.03, 0.1)
    q = np.concatenate([[-1.0, 0.0, np.nan, 1.0, 1.0, 1.0, 1.0], Q])
    [found] = resolution_of(q, np.concatenate([[9.0, 9.0, 9.0, 0.0, -9.0, np.inf, np.nan], dq]))
    assert tuple(found.values()) == pytest.approx((0.03, 0.1))


@pytest.mark.parametrize("dq", [0.0, -1.0, np.nan, np.inf, 1e-300, 1e300])
def test_nothing_comes_of_a_column_that_holds_none(dq):
    assert resolution_of(Q, np.full(Q.shape, dq)) == [{}]


def test_curves_have_numbers_of_their_own_whichever_of_both_they_share():
    both = np.stack([deviation(0.03, 0.1), deviation(0.05, 0.2)])
    for found in (resolution_of(Q, both), resolution_of(np.stack([Q, Q]), both)):
        for one, expected in zip(found, [(0.03, 0.1), (0.05, 0.2)], strict=True):
            assert tuple(one.values()) == pytest.approx(expected)
    assert len(resolution_of(np.stack([Q, 2.0 * Q]), both[0])) == 2


# Measured files, against a plain parse.


def in_xml(path):
    rows = re.findall(
        r"<Q unit[^>]*>([^<]*)</Q>.*?<Qdev unit[^>]*>([^<]*)</Qdev>", path.read_text(), re.DOTALL
    )
    return np.array(rows, float).T


def in_hdf5(path, group):
    with h5py.File(path) as file:
        return file[group]["Q"][()], file[group]["Qdev"][()]


def of_raw(path):
    rows = [line for line in path.read_text().splitlines() if line[:1].isdigit()]
    return np.loadtxt(rows, usecols=(0, 3)).T


MEASURED = {
    "cansas_xml/NIST_C4_6A.xml": in_xml,
    "cansas_xml/ILL_2008_C4_6A.xml": in_xml,
    "sasdata/Ludox_silica.xml": in_xml,
    "nxcansas/bad1.h5": lambda path: in_hdf5(path, "entry/5050_0003/sasdata"),
    "nxcansas/sample1.h5": lambda path: in_hdf5(path, "entry/ac/sasdata"),
    "sasdata/jan08002.ABS": lambda path: np.loadtxt(path, skiprows=14, usecols=(0, 3)).T,
    "sasdata/apoferritin.txt": lambda path: np.loadtxt(path, skiprows=5, usecols=(0, 3)).T,
    "raw/sans_data.dat": of_raw,
}


@needs_files
@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_column_is_condensed(name):
    q, dq = (10.0 * column for column in MEASURED[name](FORMATS / name))
    expected = by_scipy(q, dq)
    assert told(read(FORMATS / name)[0]) == pytest.approx(expected, rel=1e-5)
    # So no line is lost where the two numbers cannot describe the column.
    model = np.hypot(expected[0], expected[1] * q)
    assert np.percentile(model / (TO_FWHM * dq), 95) < 1.25


@needs_files
@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("cansas_xml/ISIS_GLASSYC_C4G8G9.xml", 0),
        ("sasdata/sam14_cor.ABS", 0),
        ("nxcansas/sample1.h5", 1),
        ("sasdata/APS_DND-CAT.TXT", 0),
    ],
    ids=["zeros", "a slit, below zero", "a slit by its names", "a column without a name"],
)
def test_what_is_no_deviation_of_q_says_nothing(name, curve):
    assert told(read(FORMATS / name)[curve]) == (None, None)


# What files say of it.


@pytest.mark.parametrize(
    "label",
    ["dQ", "dq (1/nm)", "sigmaQ", "sigma_q", "Qdev", "q_dev", "Q error", "q_err", "std. dev. q"],
)
def test_labels_that_mean_a_standard_deviation_are_heeded(label):
    assert columns_of(4, f"q\tI\tsigma\t{label}").q_sigma == 3


@pytest.mark.parametrize(
    "label",
    ["dQ/Q", "sigma_q / q", "dq (%)", "delta q", "q width", "FWHM", "resolution", "dQx", "meanQ"],
)
def test_labels_that_may_mean_another_width_are_not(label):
    assert columns_of(4, f"q\tI\tsigma\t{label}").q_sigma is None


@pytest.mark.parametrize(("unit", "factor"), [("1/nm", 1.0), ("1/angstrom", 10.0), (None, 10.0)])
def test_the_resolution_has_the_unit_of_q_whoever_names_it(tmp_path, unit, factor):
    q = 0.1 * Q
    columns = np.stack([q, np.ones(40), 0.1 * np.ones(40), deviation(0.003, 0.1, q)], axis=1)
    np.savetxt(tmp_path / "curve.dat", columns, header="q\tI\tsigma\tdQ")
    [sample] = read(tmp_path / "curve.dat", unit)
    assert told(sample) == pytest.approx((0.003 * factor, 0.1))


def xml(q_unit, deviation_unit):
    rows = "".join(
        f'<Idata><Q unit="{q_unit}">{q}</Q><I unit="1/cm">1</I>'
        f'<Qdev unit="{deviation_unit}">{dq}</Qdev></Idata>'
        for q, dq in zip(Q.tolist(), deviation(0.03, 0.1).tolist(), strict=True)
    )
    return (
        '<SASroot version="1.1" xmlns="urn:cansas1d:1.1"><SASentry><Title>t</Title>'
        f"<SASdata>{rows}</SASdata></SASentry></SASroot>"
    )


def test_a_deviation_in_another_unit_than_q_says_nothing(tmp_path):
    path = tmp_path / "curve.xml"
    path.write_text(xml("1/nm", "nm^-1"))
    assert told(read(path)[0]) == pytest.approx((0.03, 0.1))
    path.write_text(xml("1/nm", "1/A"))
    assert told(read(path)[0]) == (None, None)


@pytest.fixture
def stack(tmp_path):
    """An NXcanSAS stack of two frames, to which a test adds what it is about."""
    path = tmp_path / "stack.h5"
    write_stack(path, Q, np.ones((2, 40)), None, title="t")
    return path


def with_deviation(path, values, name="Qdev", units="1/nm", **attributes):
    with h5py.File(path, "a") as file:
        data = file["sasentry/sasdata"]
        data[name] = values
        data[name].attrs["units"] = units
        data["Q"].attrs.update(attributes)
    return [told(sample) for sample in read(path)]


def test_a_stack_has_one_resolution_or_one_a_frame(stack, tmp_path):
    both = np.stack([deviation(0.03, 0.1), deviation(0.05, 0.2)])
    other = tmp_path / "other.h5"
    other.write_bytes(stack.read_bytes())
    shared = with_deviation(other, both[0], name="smear", resolutions="smear")
    assert shared[0] == shared[1] == pytest.approx((0.03, 0.1))
    own = with_deviation(stack, both)
    assert own[0] == pytest.approx((0.03, 0.1))
    assert own[1] == pytest.approx((0.05, 0.2))
    assert told(read(stack, frames=range(1, 2))[0]) == own[1]


@pytest.mark.parametrize(
    "given",
    [
        {"resolutions": ["dQw", "dQl"]},
        {"name": "dQw", "resolutions": "dQw"},
        {"resolutions_description": "Bin"},
        {"resolutions": "missing"},
        {"units": "1/angstrom"},
        {"values": np.ones(7)},
        {"values": 1.0},
    ],
)
def test_what_is_not_known_to_be_a_deviation_of_q_does_no_harm(stack, given):
    given = {"values": deviation(0.03, 0.1), **given}
    assert with_deviation(stack, **given) == [(None, None)] * 2


def test_a_series_of_raw_has_it_in_the_last_column(tmp_path):
    path = tmp_path / "series.hdf5"
    dq = deviation(0.03, 0.1)
    ones = np.ones(40)
    for q, profile in (
        (np.stack([Q, dq], axis=1), np.stack([ones, ones], axis=1)),
        (None, np.stack([Q, ones, ones, dq], axis=1)),
    ):
        with h5py.File(path, "w") as file:
            file.attrs["file_type"] = "RAW_Series"
            file["profiles/000000"] = profile
            if q is not None:
                file["profiles/q"] = q
        assert told(read(path, "1/nm")[0]) == pytest.approx((0.03, 0.1))


def test_both_numbers_are_written_and_come_back(tmp_path):
    said = [{"resolution": 0.03, "relative_resolution": 0.1}, {"resolution": 0.05}]
    for metadata in (said, said[:1] * 2):
        path = tmp_path / "stack.h5"
        write_stack(path, Q, np.ones((2, 40)), None, title="t", metadata=metadata)
        for sample, expected in zip(read(path), metadata, strict=True):
            found = {name: sample.origin.metadata.get(name) for name in expected}
            assert found == expected


def test_a_table_beside_the_files_may_give_them_in_the_unit_that_it_names(tmp_path):
    (tmp_path / "table.csv").write_text(
        "file,resolution (1/A),relative_resolution\na.dat,0.003,0.1"
    )
    table = Companion.read(tmp_path / "table.csv")
    assert table.rows["meta.resolution"].to_pylist() == pytest.approx([0.03])
    assert table.rows["meta.relative_resolution"].to_pylist() == [0.1]


def test_a_file_is_searched_by_its_column_also_when_a_run_is_processed_again(tmp_path):
    q = np.linspace(0.3, 3.0, 600)
    model = 50.0 / q + 1000.0 * np.exp(-4.0 * np.log(2.0) * ((q - 1.0) / 0.1) ** 2)
    intensity = np.random.default_rng(1).poisson(model).astype(float)
    intensity[[399, 400, 401]] += [400.0, 1000.0, 400.0]
    columns = np.stack([q, intensity, np.sqrt(intensity + 1.0), deviation(0.02, 0.03, q)], axis=1)
    np.savetxt(tmp_path / "curve.dat", columns, header="q(1/nm)\tI\tsigma\tdQ")
    standard = Pipeline.load("standard")
    by_data = standard.with_settings(["find_peak.resolution=data"])
    process_archive([tmp_path / "curve.dat"], tmp_path / "run", save_curves=True)
    process_archive([tmp_path / "curve.dat"], tmp_path / "by_data", pipeline=by_data)
    reprocess_run(tmp_path / "run", tmp_path / "again", by_data)

    def found(run):
        [sample] = read_table(tmp_path / run, "samples").to_pylist()
        assert [sample[f"meta.{name}"] for name in BOTH] == pytest.approx([0.02, 0.03])
        rows = read_table(tmp_path / run, "peaks", where=pc.field("kind") == "bragg")
        return rows["q"].to_pylist()

    assert found("run") == pytest.approx([q[400]], rel=1e-3)
    assert found("by_data") == found("again") == pytest.approx([1.0], rel=1e-3)
