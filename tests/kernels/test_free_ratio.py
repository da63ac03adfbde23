"""Lattices with two parameters, named from lines whose origin is known."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import free_ratio, peak_table
from gpusaxs.kernels.index_phase import index_phase
from hypothesis import given
from hypothesis import strategies as st
from test_index_phase import peaks_at

from gpusaxs.phases import ON_REQUEST, PHASE_BY_NAME
from gpusaxs.stages.phase import Phase

RATIOS = {
    "rectangular": (0.47, 0.81),
    "centred rectangular": (0.53, 0.77),
    "tetragonal": (0.62, 1.37),
    "HCP with free axes": (1.52, 1.71),
}
CASES = [(name, ratio) for name, ratios in RATIOS.items() for ratio in ratios]


def indexed(run, lines, low, **options):
    """Rows of the phases table, and the stage."""
    q = np.linspace(low, lines[:, peak_table.Q].max() * 1.01 + 0.01, 900)
    phases = np.full((peak_table.MAX_PHASES, peak_table.PHASE_COLUMNS), np.nan)
    n_phases, verdict, margin = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
    stage = Phase(**options)
    run(index_phase, q, np.zeros(900), np.ones(900), np.ones(900), lines, np.array([len(lines)]),
        *stage._tables, phases, n_phases, verdict, margin)  # fmt: skip
    return phases[: n_phases[0]], stage


@pytest.mark.parametrize(("name", "ratio"), CASES)
def test_exact_lines_give_both_axes(run, name, ratio):
    centres = np.sort(PHASE_BY_NAME[name].q(9.0, ratio))[:7]
    centres = centres[np.insert(np.diff(centres) > 0.02 * centres[:-1], 0, True)]
    rows, stage = indexed(
        run, peaks_at(centres, fwhm=0.01), 0.3 * centres[0], phases=(name, "lamellar", "Pn-3m")
    )
    assert stage.known[int(rows[0, peak_table.PHASE])].name == name
    np.testing.assert_allclose(rows[0, peak_table.LATTICE], 9.0, rtol=1e-6)
    np.testing.assert_allclose(rows[0, peak_table.RATIO], ratio, rtol=1e-6)
    assert 0.0 < rows[0, peak_table.RATIO_SIGMA] < 0.01
    found = PHASE_BY_NAME[name].q(9.0, ratio)
    matched = [found[k] for k in range(found.size) if int(rows[0, peak_table.MATCHED]) >> k & 1]
    for centre in centres:
        assert np.abs(np.array(matched) - centre).min() < 1e-6


@given(st.sampled_from(ON_REQUEST), st.floats(0.0, 1.0))
def test_reflections_stay_sorted_and_keep_their_names_at_any_ratio(phase, share):
    low, high = phase.ratio_range
    ratio = low + share * (high - low)
    positions, order = np.zeros(20), np.zeros(20, np.int64)
    count = len(phase.reflections)
    free_ratio.place_reflections(phase.planes, count, ratio, positions, order)
    assert (np.diff(positions[:count]) >= 0.0).all()
    along, across = phase.planes[order[:count]].T
    np.testing.assert_allclose(positions[:count], np.sqrt(along + across / ratio**2), rtol=1e-14)
    assert sorted(order[:count]) == list(range(count))


def test_a_lattice_with_one_parameter_wins_where_it_explains_the_lines_as_well(run):
    centres = PHASE_BY_NAME["square"].q(9.0)[:6]
    rows, stage = indexed(
        run, peaks_at(centres, fwhm=0.01), 0.3, phases=("square", "rectangular", "tetragonal")
    )
    assert stage.known[int(rows[0, peak_table.PHASE])].name == "square"
    assert np.isnan(rows[0, peak_table.RATIO])
