"""The answers on measured curves: what is reached is held."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from gpusaxs.io import read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample, Verdict

NAMES = {"Im3m": "Im-3m"}
HEXAGONAL_FIRST = 4.0 * np.pi / np.sqrt(3.0)


@pytest.fixture(scope="module")
def curves(measured) -> list[tuple[dict[str, str], Sample]]:
    with open(measured / "truth.csv", newline="") as opened:
        truth = list(csv.DictReader(opened))
    samples = [read(measured / row["file"])[0] for row in truth]
    return list(zip(truth, Runtime("numpy").run(samples), strict=True))


def named(sample: Sample) -> str | None:
    return sample.phases[0].phase if sample.verdict is Verdict.IDENTIFIED else None


def within_tolerance(row: dict[str, str], lattice: float) -> bool:
    expected = float(row["lattice_nm"])
    return abs(lattice / expected - 1.0) <= float(row["relative_tolerance"])


def test_the_lipid_cubic_phase_is_im3m_with_its_lattice_parameter(curves):
    [(row, sample)] = [(r, s) for r, s in curves if "lipid_cubic" in r["file"]]
    assert named(sample) == "Im-3m"
    assert within_tolerance(row, sample.phases[0].lattice)


@pytest.mark.parametrize("file", ["agbh_pilatus1m", "dppc_mlv"])
def test_silver_behenate_and_vesicles_are_lamellar_with_their_spacing(curves, file):
    [(row, sample)] = [(r, s) for r, s in curves if file in r["file"]]
    assert named(sample) == "lamellar"
    assert within_tolerance(row, sample.phases[0].lattice)


def test_hexagonal_curves_with_a_clear_second_line_are_hexagonal(curves):
    clear = [(row, sample) for row, sample in curves if float(row["second_line_snr"] or 0) >= 30]
    right = [
        named(sample) == "hexagonal" and within_tolerance(row, sample.phases[0].lattice)
        for row, sample in clear
    ]
    assert len(right) == 13
    assert sum(right) >= 12


def test_a_hexagonal_curve_is_hexagonal_or_not_named_with_its_first_line(curves):
    for row, sample in curves:
        if row["phase"] != "hexagonal":
            continue
        assert named(sample) in ("hexagonal", None), row["file"]
        if named(sample) == "hexagonal":
            assert within_tolerance(row, sample.phases[0].lattice), row["file"]
        else:
            assert sample.verdict in (Verdict.UNINDEXED, Verdict.AMBIGUOUS), row["file"]
            lines = [peak for peak in sample.metadata.processed_peaks if peak.bragg]
            strongest = max(lines, key=lambda peak: peak.height)
            assert within_tolerance(row, HEXAGONAL_FIRST / strongest.q), row["file"]


def test_no_curve_without_a_bragg_line_is_named(curves):
    plain = [(row, sample) for row, sample in curves if row["phase"] == "none"]
    assert len(plain) == 32
    assert [row["file"] for row, sample in plain if named(sample)] == []


def test_no_curve_is_given_another_phase_than_its_own(curves):
    wrong = [
        (row["file"], named(sample))
        for row, sample in curves
        if named(sample) and named(sample) != NAMES.get(row["phase"], row["phase"])
    ]
    assert wrong == []


@pytest.mark.parametrize("skip", [20, 30, 40, 50])
def test_two_lines_that_are_noise_name_no_phase_however_the_curve_is_cut(measured, skip):
    [given] = read(measured / "plain/otab/OTAB_065wtp_T084.pdh")
    cut = Pipeline.load("standard").with_settings(
        ["cut.trim_edges=false", f"cut.skip_first={skip}", f"cut.skip_last={skip}"]
    )
    [sample] = Runtime("numpy", pipeline=cut).run([given])
    assert named(sample) is None
