"""A curve gives the same bits, whatever it is processed together with and however it is split."""

import numpy as np
import pytest

import gpusaxs
from gpusaxs.backends import numpy as numpy_backend
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.io import discover, read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.simulate import HARD_NEGATIVES, simulate

POINT_ARRAYS = ("intensity", "sigma", "background", "residual", "search", "noise")
CURVE_ARRAYS = (
    "start", "stop", "status", "peaks", "n_peaks", "candidates", "n_candidates",
    "phases", "n_phases", "verdict", "margin", "stage_num",
)  # fmt: skip
USED = {"peaks": "n_peaks", "candidates": "n_candidates", "phases": "n_phases"}
TABLES = ("samples", "peaks", "phases")
VARIANTS = {
    "standard": (),
    "power law and moving average": (
        "background.mode=power_law",
        "filter.method=moving_average",
        "process_peak.scale_uncertainties=true",
    ),
    "arpls and the median in place of the curve": (
        "background.mode=arpls",
        "filter.method=median",
        "filter.replace=true",
        "find_peak.distance=3.0",
        "find_peak.width=1.0",
    ),
}


def simulated_curves():
    """Bragg curves and hard negatives, of two lengths, some without sigma."""
    settings = {"seed": 21, "hard": True, "counts": (500.0, 50000.0)}
    bragg = simulate(24, points=400, coexistence=0.2, **settings)
    negative = simulate(
        12, points=333, negatives=1.0, negative_kinds=HARD_NEGATIVES, grid="log", **settings
    )
    return [
        Sample(
            f"{name}{i}",
            curves.q.copy(),
            curves.intensity[i],
            None if i % 5 == 0 else curves.sigma[i],
        )
        for name, curves in (("bragg", bragg), ("negative", negative))
        for i in range(len(curves.intensity))
    ]


@pytest.fixture(scope="module", params=["simulated", "measured"])
def samples(request):
    """Curves of many kinds and lengths."""
    if request.param == "simulated":
        return simulated_curves()
    folder = request.getfixturevalue("measured")
    sources = discover([folder / "bragg", folder / "plain"])
    few = [s for s in sources if "otab" not in s.id] + [s for s in sources if "otab" in s.id][::8]
    return [sample for source in few for sample in read(source)]


def bits(values):
    """Values as integers, every NaN the same one."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    return np.where(np.isnan(values), np.nan, values).view(np.int64)


def computed(samples, backend=None, settings=(), pipeline="standard"):
    """Bits of everything that is computed for each curve, by its id."""
    backend = backend or NumpyBackend(1)
    batch = SampleBatch.from_samples(samples, backend)
    lengths = batch.stop.copy()
    Runtime(backend, pipeline=Pipeline.load(pipeline).with_settings(settings)).run_on(batch)
    found = {}
    for row, (name, length) in enumerate(zip(batch.ids, lengths, strict=True)):
        whole = {array: getattr(batch, array)[row] for array in POINT_ARRAYS}
        assert all(np.isnan(whole[a][length:]).all() for a in POINT_ARRAYS if a != "background")
        arrays = {array: bits(values[:length]) for array, values in whole.items()}
        for array in CURVE_ARRAYS:
            values = np.atleast_1d(getattr(batch, array)[row])
            if array in USED:
                values = values[: getattr(batch, USED[array])[row]]
            arrays[array] = bits(values)
        for stage, numbers in batch.numbers.items():
            arrays[stage] = bits(numbers[row])
        found[name] = arrays
    return found


def assert_same(mine, expected):
    assert set(mine) == set(expected)
    for name, arrays in expected.items():
        for array, values in arrays.items():
            np.testing.assert_array_equal(mine[name][array], values, err_msg=f"{name}: {array}")


@pytest.fixture(scope="module")
def alone(samples):
    """Every curve processed by itself."""
    found = {}
    for sample in samples:
        found |= computed([sample])
    return found


def shuffled(samples, seed=0):
    return [samples[i] for i in np.random.default_rng(seed).permutation(len(samples))]


def test_the_curves_here_have_peaks_and_phases_to_compare(alone):
    assert sum(arrays["n_peaks"][0] for arrays in alone.values()) > 2 * len(alone)
    assert sum(arrays["n_phases"][0] > 0 for arrays in alone.values()) > len(alone) / 8


def test_a_batch_gives_the_bits_of_each_curve_alone(samples, alone):
    assert_same(computed(samples), alone)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_the_curves_changes_no_bit(samples, alone, seed):
    assert_same(computed(shuffled(samples, seed)), alone)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_chunks_of_a_launch_change_no_bit(samples, alone, chunk, monkeypatch):
    monkeypatch.setattr(numpy_backend, "CHUNK", chunk)
    assert_same(computed(shuffled(samples), NumpyBackend(2)), alone)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_no_bit(samples, alone, workers, monkeypatch):
    monkeypatch.setattr(numpy_backend, "CHUNK", 4)
    assert_same(computed(samples, NumpyBackend(workers)), alone)


def test_padding_changes_no_bit(samples, alone):
    q = np.linspace(0.1, 3.0, 5000)
    longest = Sample("longest", q, np.exp(-q) + 0.01 * np.sin(50.0 * q), None)
    padded = computed([longest, *samples])
    del padded["longest"]
    assert_same(padded, alone)


def test_a_shared_q_changes_no_bit():
    curves = simulate(12, seed=4, hard=True, points=300)
    rows = zip(curves.intensity, curves.sigma, strict=True)
    shared = [Sample(str(i), curves.q, *row) for i, row in enumerate(rows)]
    batch = SampleBatch.from_samples(shared, NumpyBackend(1))
    assert batch.q.shape[0] == 1
    own = [Sample(s.id, s.q.copy(), s.intensity, s.sigma) for s in shared]
    assert SampleBatch.from_samples(own, NumpyBackend(1)).q.shape[0] == 1
    own.append(Sample("another q", 1.01 * curves.q, curves.intensity[0], curves.sigma[0]))
    assert SampleBatch.from_samples(own, NumpyBackend(1)).q.shape[0] == 13
    by_own_q = computed(own)
    del by_own_q["another q"]
    assert_same(computed(shared), by_own_q)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "standard"])
def test_other_kernels_give_the_same_bits_alone_and_in_a_shuffled_batch(
    samples, variant, monkeypatch
):
    monkeypatch.setattr(numpy_backend, "CHUNK", 5)
    settings = VARIANTS[variant]
    few = samples[::3]
    expected = {}
    for sample in few:
        expected |= computed([sample], settings=settings)
    assert_same(computed(shuffled(few), NumpyBackend(3), settings), expected)


def test_numbers_of_curves_are_the_same_bits_alone_and_in_a_shuffled_batch(samples, monkeypatch):
    monkeypatch.setattr(numpy_backend, "CHUNK", 5)
    few = samples[::2]
    expected = {}
    for sample in few:
        expected |= computed([sample], pipeline="solution")
    assert {"guinier", "porod", "kratky"} <= set(next(iter(expected.values())))
    assert_same(computed(shuffled(few), NumpyBackend(3), pipeline="solution"), expected)


@pytest.mark.parametrize("block_points", [1, 2500, 10**7])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_tables_do_not_depend_on_blocks_workers_or_order(block_points, workers, monkeypatch):
    curves = simulate(20, seed=8, hard=True, points=500, negatives=0.3)
    ids = [str(i) for i in range(20)]
    expected = tables(curves, ids, slice(None), workers=1)
    monkeypatch.setattr(NumpyBackend, "block_points", block_points)
    order = np.random.default_rng(5).permutation(20)
    assert tables(curves, ids, order, workers=workers) == expected


def tables(curves, ids, order, workers):
    """Rows of the three tables by curve, as text: NaN equals NaN, and no digit is lost."""
    names = np.array(ids)[order].tolist()
    result = gpusaxs.process(
        curves.q,
        curves.intensity[order],
        curves.sigma[order],
        q_unit="1/nm",
        ids=names,
        backend="numpy",
        workers=workers,
    )
    rows = {name: [] for name in ids}
    for table in TABLES:
        for row in getattr(result, table).to_pylist():
            rows[row["id"]].append((table, repr(row)))
    return rows


def test_a_curve_looked_at_again_has_the_numbers_of_the_tables():
    curves = simulate(5, seed=9, points=500, counts=20000.0)
    result = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    peaks = result.peaks.to_pylist()
    assert peaks
    for number in range(5):
        found = result[number].metadata.processed_peaks
        expected = [row for row in peaks if row["id"] == str(number)]
        assert [repr(peak.q) for peak in found] == [repr(row["q"]) for row in expected]
