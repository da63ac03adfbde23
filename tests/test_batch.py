from dataclasses import fields

import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import MAX_PEAKS, SampleBatch, bits_of, reflections
from gpusaxs.phases import PHASE_BY_NAME, PHASES, Numbered
from gpusaxs.sample import CurveStatus, FitStatus, LineKind, PeakRemarks, Sample, Verdict

BACKEND = NumpyBackend(1)
Q = np.linspace(0.1, 2.0, 50)


def curves(count=3, points=50):
    return np.random.default_rng(1).normal(10.0, 1.0, (count, points))


def batch_of(count=3, q=Q, sigma=None):
    names = [f"c{i}" for i in range(count)]
    return SampleBatch.from_arrays(names, q, curves(count), sigma, BACKEND)


def test_samples_come_back_as_they_were_given():
    given = [
        Sample(name, Q[:points] + shift, curve[:points], 0.1 * curve[:points])
        for name, points, shift, curve in zip("abc", (50, 20, 33), (0, 1, 2), curves(), strict=True)
    ]
    back = SampleBatch.from_samples(given, BACKEND).to_samples()
    for sample, returned in zip(given, back, strict=True):
        assert returned.id == sample.id
        assert returned.status is CurveStatus.OK
        for name in ("q", "intensity", "sigma"):
            np.testing.assert_array_equal(getattr(returned, name), getattr(sample, name))
        assert not returned.background.any()


def test_shorter_curves_are_padded_with_nan():
    given = [Sample("a", Q, curves()[0]), Sample("b", Q[:20], curves()[1, :20])]
    batch = SampleBatch.from_samples(given, BACKEND)
    assert batch.intensity.shape == (2, 50)
    assert batch.stop.tolist() == [50, 20]
    for array in (batch.q, batch.intensity, batch.sigma, batch.search, batch.residual):
        assert np.isnan(array[1, 20:]).all()


def test_q_that_all_samples_share_is_kept_once():
    given = [Sample(name, Q, curve) for name, curve in zip("abc", curves(), strict=True)]
    shared = SampleBatch.from_samples(given, BACKEND)
    equal = SampleBatch.from_samples([Sample(s.id, Q.copy(), s.intensity) for s in given], BACKEND)
    another = Sample("d", 2.0 * Q, given[0].intensity)
    own = SampleBatch.from_samples([*given, another], BACKEND)
    assert shared.q.shape == equal.q.shape == (1, 50)
    assert own.q.shape == (4, 50)
    for one, other in zip(shared.to_samples(), own.to_samples()[:3], strict=True):
        np.testing.assert_array_equal(one.q, other.q)
        np.testing.assert_array_equal(one.intensity, other.intensity)


def test_what_is_given_is_copied():
    intensity = curves()
    before = intensity.copy()
    q = Q.copy()
    batch = SampleBatch.from_arrays(list("abc"), q, intensity, None, BACKEND)
    batch.intensity[:] = 0.0
    batch.q[:] = 0.0
    np.testing.assert_array_equal(intensity, before)
    np.testing.assert_array_equal(q, Q)
    sample = Sample("a", Q, before[0])
    SampleBatch.from_samples([sample], BACKEND).intensity[:] = 0.0
    np.testing.assert_array_equal(sample.intensity, before[0])


def test_what_is_returned_is_a_copy():
    batch = batch_of()
    before = batch.intensity.copy()
    [first, *_] = batch.to_samples()
    first.intensity[:] = 0.0
    first.q[:] = 0.0
    np.testing.assert_array_equal(batch.intensity, before)
    np.testing.assert_array_equal(batch.q[0], Q)


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.inf, np.nan])
def test_a_sigma_that_says_nothing_is_unknown(nothing):
    sigma = np.ones((3, 50))
    sigma[1, 4] = nothing
    for q in (Q, np.tile(Q, (3, 1))):
        batch = batch_of(q=q, sigma=sigma)
        assert np.isnan(batch.sigma[1, 4])
        assert np.isfinite(batch.sigma).sum() == 149


def test_one_bad_curve_is_repaired_and_the_others_stay_as_they_are():
    intensity = curves()
    intensity[1, [0, 7]] = np.nan
    batch = SampleBatch.from_arrays(list("abc"), Q, intensity, None, BACKEND)
    assert batch.stop.tolist() == [50, 48, 50]
    assert batch.status.tolist() == [0, int(CurveStatus.POINTS_DROPPED), 0]
    np.testing.assert_array_equal(batch.intensity[[0, 2]], intensity[[0, 2]])
    np.testing.assert_array_equal(batch.to_samples()[1].q, np.delete(Q, [0, 7]))


def test_curves_that_cannot_be_used_have_failed_and_are_not_live():
    intensity = curves()
    intensity[0] = 3.0
    intensity[2, 10:] = np.nan
    batch = SampleBatch.from_arrays(list("abc"), Q, intensity, None, BACKEND)
    assert batch.live_rows().tolist() == [1]
    flat, good, short = batch.to_samples()
    assert flat.status.failed
    assert flat.verdict is short.verdict is Verdict.FAILED
    assert "constant" in flat.reason
    assert "too few" in short.reason
    assert not good.reason


def test_q_out_of_order_is_sorted_for_every_curve():
    intensity = curves()
    batch = SampleBatch.from_arrays(list("abc"), Q[::-1], intensity, None, BACKEND)
    assert (batch.status == int(CurveStatus.Q_REORDERED)).all()
    np.testing.assert_array_equal(batch.intensity, intensity[:, ::-1])


def test_a_samples_own_flags_are_kept():
    given = [Sample("a", Q, curves()[0], status=CurveStatus.Q_UNIT_GUESSED)]
    [back] = SampleBatch.from_samples(given, BACKEND).to_samples()
    assert back.status is CurveStatus.Q_UNIT_GUESSED


def test_samples_without_points_fail_alone():
    nothing = Sample("a", np.empty(0), np.empty(0))
    first, second = SampleBatch.from_samples(
        [nothing, Sample("b", Q, curves()[0])], BACKEND
    ).to_samples()
    assert first.status.failed
    assert second.status is CurveStatus.OK


def test_to_samples_returns_the_rows_asked_for_in_their_order():
    assert [s.id for s in batch_of(4).to_samples(np.array([3, 1]))] == ["c3", "c1"]


def test_points_that_were_cut_are_not_returned():
    batch = batch_of()
    batch.start[1], batch.stop[1] = 5, 30
    sample = batch.to_samples()[1]
    np.testing.assert_array_equal(sample.q, Q[5:30])
    np.testing.assert_array_equal(sample.intensity, batch.intensity[1, 5:30])


def test_the_search_begins_with_the_curve():
    batch = batch_of(sigma=np.full((3, 50), 0.2))
    np.testing.assert_array_equal(batch.search, batch.intensity)
    np.testing.assert_array_equal(batch.residual, batch.intensity)
    np.testing.assert_array_equal(batch.noise, batch.sigma)


def test_what_changes_a_curve_before_anybody_looks_at_the_search_launches_nothing(monkeypatch):
    batch = batch_of(sigma=np.full((3, 50), 0.2))
    launched = []
    monkeypatch.setattr(batch.backend, "launch", lambda kernel, *_: launched.append(kernel.name))
    batch.intensity += 1.0
    batch.sigma += 0.1
    batch.restart_search(np.arange(3))
    assert launched == []
    np.testing.assert_array_equal(batch.search, batch.intensity)
    np.testing.assert_array_equal(batch.residual, batch.intensity)
    np.testing.assert_array_equal(batch.noise, batch.sigma)
    batch.restart_search(np.arange(3))
    assert launched == ["restart_search"]


def test_the_search_is_restarted_for_the_rows_asked_for_within_their_points():
    batch = batch_of()
    batch.start[0] = 10
    batch.intensity += 1.0
    before = batch.search.copy()
    batch.restart_search(np.array([0]))
    np.testing.assert_array_equal(batch.search[0, 10:], batch.intensity[0, 10:])
    np.testing.assert_array_equal(batch.search[0, :10], before[0, :10])
    np.testing.assert_array_equal(batch.search[1:], before[1:])


def test_the_smoothed_curve_can_take_the_place_of_the_measured_one():
    batch = batch_of()
    batch.search[:] = 7.0
    batch.noise[:] = 0.5
    batch.replace_by_search(np.array([1]))
    assert (batch.intensity[1] == 7.0).all()
    assert (batch.residual[1] == 7.0).all()
    assert (batch.sigma[1] == 0.5).all()
    assert not (batch.intensity[0] == 7.0).any()


def test_a_curve_is_taken_over_from_a_sample_point_for_point():
    batch = batch_of()
    batch.start[1] = 10
    batch.set_curve(1, Sample("c1", Q[10:], np.arange(40.0), np.ones(40)))
    np.testing.assert_array_equal(batch.intensity[1, 10:], np.arange(40.0))
    assert (batch.sigma[1, 10:] == 1.0).all()
    with pytest.raises(ValueError, match=r"40 points of sample 'c1'. Got 30"):
        batch.set_curve(1, Sample("c1", Q[:30], np.arange(30.0)))


def test_a_failure_has_its_stage_and_its_error_as_reason():
    batch = batch_of()
    batch.fail([1], "filter", ZeroDivisionError("by zero"))
    assert batch.live_rows().tolist() == [0, 2]
    sample = batch.to_samples()[1]
    assert sample.reason == "stage 'filter' raised ZeroDivisionError: by zero"
    assert sample.status is CurveStatus.STAGE_FAILED


def test_peaks_of_the_tables_are_peaks_of_the_sample():
    batch = batch_of()
    batch.peaks[1, 0] = np.arange(table.PEAK_COLUMNS)
    batch.peaks[1, 0, table.STATUS] = FitStatus.BOUND_HIT
    batch.peaks[1, 0, table.REMARKS] = PeakRemarks.SHOULDER
    batch.peaks[1, 0, table.BRAGG] = LineKind.BRAGG
    batch.n_peaks[1] = 1
    batch.candidates[1, :2] = [[30.0, 8.0, 2.0, 0.0], [12.0, 4.0, 1.0, 0.0]]
    batch.n_candidates[1] = 2
    metadata = batch.to_samples()[1].metadata
    [peak] = metadata.processed_peaks
    fitted = [field.name for field in fields(peak)][1:-3]
    assert table.VALUE + len(fitted) == table.STATUS
    for column, name in enumerate(fitted, start=table.VALUE):
        assert getattr(peak, name) == column
    assert (peak.index, peak.status, peak.bragg) == (0, FitStatus.BOUND_HIT, True)
    assert (peak.remarks, peak.kind) == (PeakRemarks.SHOULDER, LineKind.BRAGG)
    assert [p.index for p in metadata.unprocessed_peaks] == [30, 12]
    assert metadata.current_peak == metadata.unprocessed_peaks[0]
    assert batch.to_samples()[0].metadata.processed_peaks == []
    assert batch.max_peaks == MAX_PEAKS


def phase_row(**columns):
    row = np.full(table.PHASE_COLUMNS, np.nan)
    for name, value in columns.items():
        row[getattr(table, name.upper())] = value
    return row


def test_phases_of_the_tables_are_phases_of_the_sample():
    batch = batch_of()
    names = [phase.name for phase in PHASES]
    batch.peaks[0, :3, table.STATUS : table.PEAK_COLUMNS] = 0.0
    batch.peaks[0, :3, table.INDEX] = [7, 30, 41]
    batch.n_peaks[0] = 3
    batch.phases[0, 0] = phase_row(
        phase=names.index("hexagonal"), lattice=9.0, lattice_sigma=0.1, score=20.0, matched=0b1011,
        missing=0b0100, unexplained=0b110, candidate=0, probability=0.9, offset=0.01,
    )  # fmt: skip
    batch.phases[0, 1] = phase_row(
        phase=names.index("Pn-3m"), lattice=12.0, matched=0b1, missing=0, candidate=1
    )
    batch.n_phases[0] = 2
    batch.verdict[0] = table.VERDICT_AMBIGUOUS
    batch.margin[0] = 5.0
    sample = batch.to_samples()[0]
    phase, other = sample.phases
    assert (sample.verdict, sample.margin) == (Verdict.AMBIGUOUS, 5.0)
    assert sample.best_phases == (phase,)
    assert (phase.phase, phase.lattice, phase.lattice_sigma) == ("hexagonal", 9.0, 0.1)
    assert (phase.candidate, phase.probability, phase.offset) == (0, 0.9, 0.01)
    assert phase.matched == (1, 3, 7)
    assert phase.missing == (4,)
    expected = PHASE_BY_NAME["hexagonal"].q(9.0) + 0.01
    np.testing.assert_allclose(phase.matched_q, expected[[0, 1, 3]])
    np.testing.assert_allclose(phase.missing_q, expected[[2]])
    assert phase.unexplained == (30, 41)
    assert (other.phase, other.candidate, other.unexplained) == ("Pn-3m", 1, ())
    assert phase.partner is None
    assert other.partner == ("Im-3m", pytest.approx(12.0 * 1.279))


def test_the_ratio_of_the_axes_moves_the_reflections():
    tetragonal = PHASE_BY_NAME["tetragonal"]
    rows = phase_row(phase=0, lattice=8.0, ratio=1.5, matched=0b11)[np.newaxis]
    found = reflections(Numbered.of([tetragonal]), rows, table.MATCHED)
    assert (found.counts.tolist(), found.n.tolist()) == ([2], [1, 100])
    np.testing.assert_allclose(found.q, 2.0 * np.pi / 8.0 * np.array([1.0 / 1.5, 1.0]))


def test_a_mask_says_which_bits_are_set_and_nan_has_none():
    found = bits_of(np.array([0b1001, 0.0, np.nan]), 4)
    assert found.tolist() == [[True, False, False, True], [False] * 4, [False] * 4]
