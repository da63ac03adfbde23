"""`find_peaks` against SciPy to the last bit, and `find_peak` against `find_peaks`."""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.signal
from gpusaxs.kernels import find_peaks as kernels
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.io import read

FloatArray = NDArray[np.float64]
Conditions = dict[str, Any]

ROWS = {
    "plateau_size": kernels.PLATEAU_SIZE,
    "height": kernels.HEIGHT,
    "threshold": kernels.THRESHOLD,
    "distance": kernels.DISTANCE,
    "prominence": kernels.PROMINENCE,
    "width": kernels.WIDTH,
    "height_noise": kernels.HEIGHT_NOISE,
    "prominence_noise": kernels.PROMINENCE_NOISE,
}
PROPERTIES = {
    "left_edges": kernels.FOUND_LEFT_EDGE,
    "right_edges": kernels.FOUND_RIGHT_EDGE,
    "left_thresholds": kernels.FOUND_LEFT_THRESHOLD,
    "right_thresholds": kernels.FOUND_RIGHT_THRESHOLD,
    "prominences": kernels.FOUND_PROMINENCE,
    "left_bases": kernels.FOUND_LEFT_BASE,
    "right_bases": kernels.FOUND_RIGHT_BASE,
    "widths": kernels.FOUND_WIDTH,
    "width_heights": kernels.FOUND_WIDTH_HEIGHT,
    "left_ips": kernels.FOUND_LEFT_IP,
    "right_ips": kernels.FOUND_RIGHT_IP,
}
ROOM = 16
BACKEND = NumpyBackend(1)

# A few levels only: flat tops, flat stretches and maxima of the same height all over.
stepped = st.lists(st.integers(0, 4).map(float), max_size=60).map(np.array)
smooth = arrays(np.float64, st.integers(0, 80), elements=st.floats(-1e6, 1e6, width=64))


@st.composite
def noisy(draw: st.DrawFn) -> FloatArray:
    """Long curves: white noise, or a random walk, whose peaks are wide."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=draw(st.integers(3, 400)))
    return values.cumsum() if draw(st.booleans()) else values


curves = stepped | smooth | noisy()


def intervals(values: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    ends = st.none() | values
    return st.none() | values | st.tuples(ends, ends)


scipy_conditions = st.fixed_dictionaries(
    {},
    optional={
        "plateau_size": intervals(st.integers(0, 5)),
        "height": intervals(st.floats(-2.0, 4.0)),
        "threshold": intervals(st.floats(0.0, 3.0)),
        "distance": st.floats(1.0, 30.0),
        "prominence": intervals(st.floats(0.0, 4.0)),
        "width": intervals(st.floats(0.0, 8.0)),
        "wlen": st.integers(2, 60) | st.floats(1.001, 60.0),
        "rel_height": st.floats(0.0, 1.5),
    },
)


def packed(conditions: Conditions) -> tuple[FloatArray, int, float]:
    """The kernels' three arguments that say what is a peak."""
    limits = np.tile([-np.inf, np.inf], (kernels.CONDITIONS, 1))
    for name, row in ROWS.items():
        interval = conditions.get(name)
        low, high = interval if isinstance(interval, tuple) else (interval, None)
        limits[row] = (-np.inf if low is None else low, np.inf if high is None else high)
    wlen = conditions.get("wlen")
    return limits, -1 if wlen is None else math.ceil(wlen), conditions.get("rel_height", 0.5)


def found_in(values: FloatArray, conditions: Conditions) -> FloatArray:
    """What `find_peaks` writes; (peaks, FOUND_COLUMNS)."""
    # Neighbouring curves and the padding are NaN: whoever reads them is found out.
    padded = np.full((3, values.size + 7), np.nan)
    padded[1, 4 : 4 + values.size] = values
    found = np.full((3, values.size // 2 + 1, kernels.FOUND_COLUMNS), np.nan)
    count = np.zeros(3, np.int64)
    span = (np.full(3, 4), np.full(3, 4 + values.size))
    BACKEND.launch(
        kernels.find_peaks, np.array([1]), span, padded, *packed(conditions), found, count
    )
    return found[1, : count[1]]


def of_scipy(values: FloatArray, conditions: Conditions) -> tuple[Any, dict[str, Any]]:
    """SciPy's peaks with all properties, whether asked for or not."""
    open_ends = dict.fromkeys(("plateau_size", "threshold", "prominence", "width"), (None, None))
    asked = {name: value for name, value in conditions.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.signal._peak_finding_utils.PeakPropertyWarning)
        return scipy.signal.find_peaks(values, **(open_ends | asked))


def stable_argsort() -> Any:
    """Let SciPy order maxima of the same height by place; by itself it leaves that to chance."""
    stable = partial(np.argsort, kind="stable")
    return mock.patch.object(scipy.signal._peak_finding_utils.np, "argsort", stable)


def assert_same(values: FloatArray, conditions: Conditions) -> None:
    found = found_in(values, conditions)
    indices, properties = of_scipy(values, conditions)
    np.testing.assert_array_equal(found[:, kernels.FOUND_INDEX], indices)
    for name, column in PROPERTIES.items():
        np.testing.assert_array_equal(found[:, column], properties[name], err_msg=name)


@settings(deadline=None, max_examples=400)
@given(curves, scipy_conditions)
def test_every_property_of_every_peak_has_the_bits_of_scipy(
    values: FloatArray, conditions: Conditions
) -> None:
    with stable_argsort():
        assert_same(values, conditions)


@settings(deadline=None)
@given(noisy(), st.floats(1.0, 50.0))
def test_distance_needs_no_help_from_the_sort_where_heights_differ(
    values: FloatArray, distance: float
) -> None:
    maxima = values[scipy.signal.find_peaks(values)[0]]
    assert np.unique(maxima).size == maxima.size
    assert_same(values, {"distance": distance})


def test_of_maxima_of_one_height_the_later_one_stays() -> None:
    values = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    found = found_in(values, {"distance": 3})
    np.testing.assert_array_equal(found[:, kernels.FOUND_INDEX], [1, 5])
    with stable_argsort():
        np.testing.assert_array_equal(of_scipy(values, {"distance": 3})[0], [1, 5])


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0],
        [1.0, 2.0],
        [0.0, 1.0, 0.0],
        [0.0, 1.0, 1.0],
        [1.0, 1.0, 0.0],
        [2.0] * 50,
        [0.0, 1.0, 1.0, 2.0, 0.0],
        [0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.75, 0.0],
        [0.0, -0.0, 0.0, 1.0, -1.0, 0.0, -1.0],
    ],
)
def test_short_constant_and_flat_topped_curves_are_as_in_scipy(values: list[float]) -> None:
    assert_same(np.array(values), {})


CHOICES: list[Conditions] = [
    {},
    {"prominence": 0.1, "wlen": 31},
    {"height": (None, 1.0), "width": (1.0, 40.0)},
    {"distance": 10, "prominence": 0.3, "height": 0.5},
    {"threshold": 1e-4, "rel_height": 0.9},
]


@pytest.mark.parametrize("conditions", CHOICES, ids=str)
def test_measured_curves_have_the_peaks_of_scipy(measured: Path, conditions: Conditions) -> None:
    paths = sorted([*measured.glob("bragg/**/*.pdh"), *measured.glob("plain/**/*.dat")])
    assert len(paths) > 20
    for path in paths:
        for sample in read(path):
            intensity = sample.intensity[np.isfinite(sample.intensity)]
            with stable_argsort():
                assert_same(intensity, conditions)


# find_peak


def candidates_in(
    values: FloatArray,
    conditions: Conditions,
    noise: FloatArray | None = None,
    processed: FloatArray | None = None,
    *,
    q: FloatArray | None = None,
    start: int = 4,
    capacity: int = 32,
    exclusion: float = 0.6,
    satellite: float = 0.04,
    reach: float = 3.0,
    growth: float = 0.0,
    shoulder_noise: float = math.inf,
    shoulder_share: float = 0.08,
    resolution: tuple[float, float] = (0.0, 0.0),
    own_resolution: tuple[float, float] = (math.nan, math.nan),
) -> tuple[FloatArray, int]:
    """What `find_peak` writes: the candidates, INDEX counted from the curve's start, and status."""
    room = start + values.size + 3
    rows = np.full((5, 2, room), np.nan)
    inside = slice(start, start + values.size)
    rows[0, 1, inside] = np.arange(1.0, values.size + 1) if q is None else q
    rows[1, 1, inside] = values
    rows[2, 1, inside] = 1.0 if noise is None else noise
    rows[3:] = rows[1:3]
    peaks = np.full((2, capacity, table.PEAK_COLUMNS), np.nan)
    n_peaks = np.zeros(2, np.int64)
    if processed is not None:
        n_peaks[1] = len(processed)
        peaks[1, : len(processed)] = processed
    candidates = np.full((2, ROOM, table.CANDIDATE_COLUMNS), np.nan)
    n_candidates = np.zeros(2, np.int64)
    status = np.zeros(2, np.int64)
    starts = np.full(2, start)
    limits, wlen, rel_height = packed(conditions)
    limits[[kernels.RESOLUTION, kernels.RELATIVE_RESOLUTION], 0] = resolution
    BACKEND.launch(
        kernels.find_peak,
        np.array([1]),
        (starts, starts + values.size),
        *rows,
        starts,
        limits,
        wlen,
        rel_height,
        growth,
        exclusion,
        satellite,
        reach,
        False,
        shoulder_noise,
        shoulder_share,
        *(np.array([math.nan, own]) for own in own_resolution),
        peaks,
        n_peaks,
        candidates,
        n_candidates,
        status,
    )
    assert not status[0]
    assert n_candidates[0] == 0
    found = candidates[1, : n_candidates[1]]
    found[:, table.INDEX] -= start
    return found, int(status[1])


def highest_first(indices: FloatArray, values: FloatArray, prominences: FloatArray) -> FloatArray:
    order = np.lexsort((indices, -values))[:ROOM]
    return np.stack([indices, values, prominences], axis=1)[order]


@settings(deadline=None, max_examples=400)
@given(curves, scipy_conditions)
def test_without_noise_and_processed_peaks_the_search_finds_what_find_peaks_does(
    values: FloatArray, conditions: Conditions
) -> None:
    found = found_in(values, conditions)
    indices = found[:, kernels.FOUND_INDEX]
    expected = highest_first(
        indices, values[indices.astype(int)], found[:, kernels.FOUND_PROMINENCE]
    )
    np.testing.assert_array_equal(candidates_in(values, conditions)[0][:, :3], expected)


@settings(deadline=None, max_examples=300)
@given(
    curves,
    scipy_conditions.map(lambda c: {k: v for k, v in c.items() if k != "distance"}),
    st.none() | st.floats(0.0, 3.0),
    st.none() | st.floats(0.0, 6.0),
    st.integers(0, 2**32 - 1),
)
def test_conditions_on_the_noise_filter_what_the_others_leave(
    values: FloatArray,
    conditions: Conditions,
    height_noise: float | None,
    prominence_noise: float | None,
    seed: int,
) -> None:
    noise = np.random.default_rng(seed).uniform(0.1, 2.0, values.size)
    found = found_in(values, conditions)
    indices = found[:, kernels.FOUND_INDEX].astype(int)
    prominences = found[:, kernels.FOUND_PROMINENCE]
    keep = np.ones(indices.size, bool)
    if height_noise is not None:
        keep &= values[indices] >= height_noise * noise[indices]
    if prominence_noise is not None:
        keep &= prominences >= prominence_noise * noise[indices]
    expected = highest_first(indices[keep], values[indices][keep], prominences[keep])
    asked = conditions | {"height_noise": height_noise, "prominence_noise": prominence_noise}
    np.testing.assert_array_equal(candidates_in(values, asked, noise)[0][:, :3], expected)


def test_a_maximum_lost_in_the_noise_takes_no_place_from_its_neighbour() -> None:
    values = np.array([0.0, 5.0, 0.0, 4.0, 0.0])
    noise = np.array([1.0, 9.0, 1.0, 1.0, 1.0])
    found, _ = candidates_in(values, {"height_noise": 1.0, "distance": 4}, noise)
    assert found[:, table.INDEX].tolist() == [3]


@pytest.mark.parametrize("asked", [{}, {"height_noise": 0.0, "prominence_noise": 0.0}], ids=str)
def test_zero_noise_hides_no_peak(asked: Conditions) -> None:
    values = np.array([0.0, 1.0, 0.0])
    assert len(candidates_in(values, asked, np.zeros(3))[0]) == 1


def test_unknown_noise_hides_a_peak_only_where_noise_is_asked_for() -> None:
    values = np.array([0.0, 1.0, 0.0])
    unknown = np.full(3, np.nan)
    assert len(candidates_in(values, {}, unknown)[0]) == 1
    assert len(candidates_in(values, {"height_noise": 0.0}, unknown)[0]) == 0
    assert len(candidates_in(values, {"prominence_noise": 0.0}, unknown)[0]) == 0


def test_a_flat_top_is_judged_by_the_noise_in_its_middle() -> None:
    values = np.array([0.0, 2.0, 2.0, 2.0, 0.0])
    noise = np.array([1.0, 9.0, 1.0, 9.0, 1.0])
    found, _ = candidates_in(values, {"height_noise": 1.5}, noise)
    assert found[:, table.INDEX].tolist() == [2]
    assert len(candidates_in(values, {"height_noise": 1.5}, noise[::-1] * 0 + 9.0)[0]) == 0


def test_only_the_highest_are_kept_where_there_is_no_room() -> None:
    heights = np.random.default_rng(1).permutation(40) + 1.0
    values = np.zeros(81)
    values[1::2] = heights
    found, status = candidates_in(values, {})
    assert found[:, table.VALUE].tolist() == list(range(40, 40 - ROOM, -1))
    assert status == 0


def comb(at: list[int], size: int = 100, height: float = 1.0) -> FloatArray:
    values = np.zeros(size)
    values[at] = height
    return values


def processed_peak(**columns: float) -> FloatArray:
    line = np.full((1, table.PEAK_COLUMNS), np.nan)
    for name, value in columns.items():
        line[0, getattr(table, name.upper())] = value
    return line


def test_a_processed_peak_keeps_maxima_away_by_its_width() -> None:
    # q is 1 + the point's index, so the centre is at point 60.
    peak = processed_peak(index=4 + 60, q=61.0, fwhm=6.0, height=1.0)
    found, _ = candidates_in(comb([50, 57, 60, 64, 70]), {}, processed=peak, satellite=0.0)
    assert sorted(found[:, table.INDEX]) == [50, 64, 70]


def test_a_low_maximum_near_a_processed_peak_is_its_satellite() -> None:
    peak = processed_peak(index=4 + 60, q=61.0, fwhm=6.0, height=50.0)
    values = comb([30, 45, 75], height=1.0) + comb([50], height=3.0)
    found, _ = candidates_in(values, {}, processed=peak)
    assert sorted(found[:, table.INDEX]) == [30, 50]


def test_a_failed_fit_keeps_its_place_without_a_width() -> None:
    peak = processed_peak(index=4 + 60)
    found, _ = candidates_in(comb([57, 62, 64]), {}, processed=peak)
    assert sorted(found[:, table.INDEX]) == [57, 64]


def test_a_failed_fit_without_a_centre_keeps_maxima_away_from_where_it_was_found() -> None:
    peak = processed_peak(index=4 + 60, fwhm=6.0)
    found, _ = candidates_in(comb([50, 57, 60, 63, 70]), {}, processed=peak)
    assert sorted(found[:, table.INDEX]) == [50, 70]


def test_a_hump_does_not_hide_the_lines_on_it() -> None:
    hump = processed_peak(index=4 + 60, q=61.0, fwhm=60.0, height=1000.0)
    found, _ = candidates_in(comb([50, 62]), {}, processed=hump, reach=1.0)
    assert found[:, table.INDEX].tolist() == [50]


def gaussian(centre: float, fwhm: float, height: float, size: int = 400) -> FloatArray:
    x = (np.arange(size) - centre) / fwhm
    profile: FloatArray = height * np.exp2(-4.0 * x**2)
    return profile


def test_broad_maxima_on_a_hump_belong_to_it() -> None:
    hump = processed_peak(index=4 + 200, q=201.0, fwhm=100.0, height=0.0)
    found, _ = candidates_in(gaussian(190, 20, 10.0), {}, processed=hump)
    assert found[:, table.INDEX].tolist() == [190]
    assert len(candidates_in(gaussian(190, 40, 10.0), {}, processed=hump)[0]) == 0


@pytest.mark.parametrize("height", [100.0, 300.0, 1000.0])
def test_a_line_on_a_hump_has_its_own_prominence(height: float) -> None:
    values = gaussian(200, 100, 1000.0) + gaussian(200, 6, height)
    found, _ = candidates_in(values, {"prominence_noise": 6.0}, growth=2.0)
    assert found[0, table.PROMINENCE] == pytest.approx(height, rel=0.3)
    whole, _ = candidates_in(values, {"prominence_noise": 6.0})
    assert whole[0, table.PROMINENCE] > 1000.0


@pytest.mark.parametrize("fwhm", [3.0, 6.0, 20.0, 70.0])
def test_a_peak_alone_has_its_whole_prominence(fwhm: float) -> None:
    values = gaussian(200, fwhm, 1000.0)
    found, _ = candidates_in(values, {"prominence_noise": 6.0}, growth=2.0)
    assert found[0, table.PROMINENCE] == pytest.approx(1000.0, rel=0.1)


@pytest.mark.parametrize(
    ("centre", "at_edge"), [(200, False), (2, True), (7, False), (397, True), (392, False)]
)
def test_a_peak_that_does_not_fall_to_half_on_both_sides_is_at_the_edge(
    centre: float, at_edge: bool
) -> None:
    found, _ = candidates_in(gaussian(centre, 10, 100.0) + 1.0, {})
    assert bool(found[0, table.FOUND_AS] == codes.PEAK_AT_EDGE) == at_edge


@pytest.mark.parametrize("resolution", [(8.0, 0.0), (0.0, 8.0 / 200.0), (6.0, 6.0 / 200.0)])
def test_nothing_far_narrower_than_the_resolution_is_a_peak(
    resolution: tuple[float, float],
) -> None:
    values = gaussian(199, 8, 100.0) + gaussian(180, 2, 100.0)
    found, _ = candidates_in(values, {"height": 50.0}, resolution=resolution)
    assert found[:, table.INDEX].tolist() == [199]
    assert len(candidates_in(values, {"height": 50.0})[0]) == 2


@pytest.mark.parametrize(
    ("own", "beside"),
    [
        ((8.0, math.nan), 0.0),
        ((math.nan, 8.0 / 200.0), 0.0),
        ((6.0, 6.0 / 200.0), 0.0),
        # Neither alone keeps the narrow one out.
        ((2.8, math.nan), 2.8 / 200.0),
        ((math.nan, 2.8 / 200.0), 2.8 / 200.0),
    ],
)
def test_the_resolution_of_a_curve_counts_where_that_is_asked_for(
    own: tuple[float, float], beside: float
) -> None:
    values = gaussian(199, 8, 100.0) + gaussian(180, 2, 100.0)
    asked: dict[str, Any] = {"conditions": {"height": 50.0}, "own_resolution": own}
    found, _ = candidates_in(values, **asked, resolution=(math.nan, beside))
    assert found[:, table.INDEX].tolist() == [199]
    assert len(candidates_in(values, **asked, resolution=(0.0, beside))[0]) == 2
    nothing = {"resolution": (math.nan, beside), "own_resolution": (math.nan, math.nan)}
    assert len(candidates_in(values, **asked | nothing)[0]) == 2


def fitted(centre: float, fwhm: float, height: float) -> FloatArray:
    """Row of a peak that a fit has found on q = 1 + the point's index."""
    return processed_peak(
        index=4 + centre, q=1.0 + centre, fwhm=fwhm, height=height, status=codes.FIT_CONVERGED
    )


def test_a_shoulder_is_found_beside_a_peak_and_says_so() -> None:
    # What is left of a slope: it has no maximum.
    values = gaussian(208, 8, 40.0) - 8.0 * np.arange(400)
    asked = {"prominence_noise": 6.0}
    found, _ = candidates_in(values, asked, processed=fitted(200, 8, 200.0), shoulder_noise=6.0)
    assert found[:, table.FOUND_AS].tolist() == [codes.PEAK_SHOULDER]
    assert found[0, table.INDEX] == pytest.approx(208, abs=1)
    assert found[0, table.VALUE] == pytest.approx(40.0, rel=0.1)
    assert len(candidates_in(values, asked, processed=fitted(200, 8, 200.0))[0]) == 0


@pytest.mark.parametrize(
    ("shoulder", "noise"),
    [((203, 8, 40.0), 1.0), ((208, 8, 10.0), 1.0), ((208, 8, 40.0), 20.0), ((260, 8, 40.0), 1.0)],
    ids=["too near", "too low", "in the noise", "far from any peak"],
)
def test_what_is_no_shoulder(shoulder: tuple[float, float, float], noise: float) -> None:
    values = gaussian(*shoulder) - 8.0 * np.arange(400)
    found, _ = candidates_in(
        values,
        {"prominence_noise": 6.0},
        np.full(400, noise),
        fitted(200, 8, 200.0),
        shoulder_noise=6.0,
    )
    assert len(found) == 0


def test_maxima_come_before_shoulders() -> None:
    values = gaussian(208, 8, 40.0) - 8.0 * np.arange(400) + gaussian(300, 5, 400.0)
    asked = {"prominence_noise": 6.0}
    found, _ = candidates_in(values, asked, processed=fitted(200, 8, 200.0), shoulder_noise=6.0)
    assert found[:, table.INDEX].tolist() == [pytest.approx(299, abs=1)]


@settings(deadline=None, max_examples=50)
@given(noisy(), st.integers(0, 79), st.floats(0.5, 60.0))
def test_a_shoulder_never_reads_beyond_the_curve(
    values: FloatArray, centre: int, fwhm: float
) -> None:
    peak = fitted(centre, fwhm, 1e-3)
    q = np.linspace(100.0, 101.0, values.size) if values.size else values
    found, _ = candidates_in(values, {}, processed=peak, q=q, shoulder_noise=0.0)
    assert ((found[:, table.INDEX] >= 0) & (found[:, table.INDEX] < values.size)).all()


def test_a_maximum_does_not_come_back_though_its_fit_ran_elsewhere() -> None:
    peak = processed_peak(index=4 + 60, q=81.0, fwhm=2.0, height=1.0)
    found, _ = candidates_in(comb([30, 61]), {}, processed=peak, satellite=0.0)
    assert found[:, table.INDEX].tolist() == [30]


def test_a_processed_peak_outside_of_the_points_that_take_part_is_no_harm() -> None:
    for index in (-50.0, 1000.0):
        peak = processed_peak(index=index, fwhm=6.0)
        assert len(candidates_in(comb([30]), {}, processed=peak)[0]) == 1


def test_an_excluded_maximum_takes_no_place_from_its_neighbour() -> None:
    peak = processed_peak(index=4 + 60, q=61.0, fwhm=2.0, height=1.0)
    values = comb([60], height=2.0) + comb([65])
    found, _ = candidates_in(values, {"distance": 10}, processed=peak, satellite=0.0)
    assert found[:, table.INDEX].tolist() == [65]


def test_a_full_table_is_told_of_only_if_there_was_another_peak() -> None:
    peak = processed_peak(index=4 + 60, q=61.0, fwhm=2.0, height=1.0)
    found, status = candidates_in(comb([30]), {}, processed=peak, capacity=1)
    assert (len(found), status) == (0, codes.PEAKS_TRUNCATED)
    found, status = candidates_in(comb([60]), {}, processed=peak, capacity=1)
    assert (len(found), status) == (0, 0)


@pytest.mark.parametrize("points", [0, 1, 2])
def test_a_curve_too_short_for_a_maximum_has_no_candidate(points: int) -> None:
    assert len(candidates_in(np.arange(float(points)), {})[0]) == 0
