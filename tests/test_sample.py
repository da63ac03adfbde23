from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gpusaxs.kernels import status as codes

from gpusaxs.sample import EXPLANATIONS, CurveStatus, FitStatus, FlowMetadata, Peak, Sample

Q = np.linspace(0.1, 1.0, 20)


def sample(**options):
    return Sample("a", Q, Q**-2.0, 0.1 * Q, **options)


def test_arrays_become_rows_of_doubles():
    made = Sample("a", [1, 2, 3], np.array([1, 2, 3], np.float32), np.arange(6)[::2])
    for row in (made.q, made.intensity, made.sigma):
        assert row.dtype == np.float64
        assert row.flags.c_contiguous


@pytest.mark.parametrize(("q", "sigma", "named"), [(Q[1:], None, "q"), (Q, Q[1:], "sigma")])
def test_rows_of_other_lengths_are_an_error_that_names_the_row_and_the_sample(q, sigma, named):
    with pytest.raises(ValueError, match=rf"{named} of sample 'a'.*\(20,\).*\(19,\)"):
        Sample("a", q, Q, sigma)


def test_a_sample_has_metadata_of_its_own_name():
    assert sample().metadata == FlowMetadata("a")
    given = FlowMetadata("b", [Peak(3, 1.0, 1.0)])
    assert sample(metadata=given).metadata is given


def test_a_status_is_read_from_what_it_writes():
    for status in (CurveStatus.OK, *CurveStatus, CurveStatus.Q_MERGED | CurveStatus.NO_SIGNAL):
        assert CurveStatus.parse(status.label) is status
    assert CurveStatus.OK.label == "ok"
    both = CurveStatus.POINTS_DROPPED | CurveStatus.SIGMA_RESCALED
    assert both.label == "points_dropped sigma_rescaled"


def test_a_status_that_does_not_exist_is_an_error():
    with pytest.raises(KeyError):
        CurveStatus.parse("broken")


def test_every_flag_has_an_explanation():
    assert set(EXPLANATIONS) == set(CurveStatus)
    assert CurveStatus.TOO_FEW_POINTS.explanation == "too few usable points"
    assert CurveStatus.OK.explanation == ""


def test_remarks_are_no_failures():
    failures = {flag for flag in CurveStatus if flag.failed}
    assert {flag.name for flag in failures} == {
        "UNREADABLE", "TOO_FEW_POINTS", "NO_SIGNAL", "NO_SIGMA", "STAGE_FAILED", "BLANK_MISMATCH",
        "TIMED_OUT", "CANCELLED", "DROPPED", "BLANK_UNSCALED",
    }  # fmt: skip
    assert sum(flag for flag in CurveStatus if flag not in failures) < min(failures)
    assert min(failures) == codes.FIRST_FAILURE
    assert not CurveStatus.OK.failed
    assert (CurveStatus.Q_MERGED | CurveStatus.NO_SIGNAL).failed


def test_a_fits_status_is_written_in_small_letters():
    assert FitStatus.SHAPE_AT_LIMIT.label == "shape_at_limit"


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_peaks_profile_has_its_height_and_its_width(eta):
    peak = Peak(0, 0.0, 0.0, q=1.0, fwhm=0.2, height=8.0, eta=eta)
    np.testing.assert_allclose(peak.profile([0.9, 1.0, 1.1]), [4.0, 8.0, 4.0], rtol=1e-12)


def test_a_peak_that_was_not_processed_has_no_profile():
    assert np.isnan(Peak(0, 1.0, 1.0).profile(Q)).all()


def test_any_object_with_the_four_attributes_becomes_a_sample():
    given = SimpleNamespace(
        q_values=[0.1, 0.2], intensity=[3, 4], intensity_err=[1, 1], metadata={"sample_id": "x7"}
    )
    made = Sample.from_object(given)
    assert made.id == "x7"
    assert made.q.tolist() == [0.1, 0.2]
    assert made.intensity.tolist() == [3.0, 4.0]
    assert made.sigma.tolist() == [1.0, 1.0]
    assert made.metadata == FlowMetadata("x7")


@pytest.mark.parametrize(
    ("metadata", "name"),
    [(None, "sample"), ({}, "sample"), (SimpleNamespace(sample_id=12), "12"),
     (FlowMetadata("b"), "b")],
)  # fmt: skip
def test_the_name_of_a_sample_comes_from_the_objects_metadata(metadata, name):
    given = SimpleNamespace(q_values=Q, intensity=Q, intensity_err=None, metadata=metadata)
    made = Sample.from_object(given)
    assert made.id == made.metadata.sample_id == name
    assert made.sigma is None


def test_an_object_made_of_a_sample_becomes_the_same_sample():
    first = sample(metadata=FlowMetadata("a", [Peak(3, 1.0, 1.0)]))
    given = first.to_object()
    again = Sample.from_object(given)
    assert isinstance(given, SimpleNamespace)
    assert (again.id, again.metadata) == (first.id, first.metadata)
    for name in ("q", "intensity", "sigma"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_an_object_is_of_the_class_asked_for():
    @dataclass
    class Curve:
        q_values: Any
        intensity: Any
        intensity_err: Any
        metadata: Any

    made = sample().to_object(Curve)
    assert isinstance(made, Curve)
    np.testing.assert_array_equal(made.intensity_err, 0.1 * Q)


def test_an_object_without_an_attribute_is_an_error_that_names_it():
    with pytest.raises(AttributeError, match="intensity_err"):
        Sample.from_object(SimpleNamespace(q_values=Q, intensity=Q, metadata=None))
