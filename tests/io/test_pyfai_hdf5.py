"""What pyFAI writes as HDF5 comes back, or is refused where it is no I(q)."""

import h5py
import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read

REASON = "pyFAI is not installed"
detectors = pytest.importorskip("pyFAI.detectors", reason=REASON)
azimuthal = pytest.importorskip("pyFAI.integrator.azimuthal", reason=REASON)
nexus = pytest.importorskip("pyFAI.io.nexus", reason=REASON)
HDF5Writer = pytest.importorskip("pyFAI.io", reason=REASON).HDF5Writer
Worker = pytest.importorskip("pyFAI.worker", reason=REASON).Worker

BINS = 40


@pytest.fixture(autouse=True)
def order_of_attributes():
    """One of the writers changes this setting of h5py for good."""
    before = h5py.get_config().track_order
    yield
    h5py.get_config().track_order = before


@pytest.fixture(scope="module")
def integrator():
    detector = detectors.Detector(1e-4, 1e-4, max_shape=(80, 80))
    geometry = {"dist": 0.1, "poni1": 1e-3, "poni2": 1e-3, "wavelength": 1e-10}
    return azimuthal.AzimuthalIntegrator(detector=detector, **geometry)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).poisson(100, (80, 80)).astype(np.float32)


def integrate(integrator, image, unit, error_model="poisson"):
    return integrator.integrate1d(image, BINS, unit=unit, error_model=error_model)


def write_stack(path, integrator, image, unit, sectors=1, error_model=None, mode="delete"):
    """Three frames through a worker, as `pyFAI-integrate` writes them; the last result."""
    worker = Worker(integrator, shapeOut=(sectors, BINS), unit=unit)
    worker.error_model = error_model
    worker.output = "raw"
    writer = HDF5Writer(str(path), append_frames=True, mode=mode)
    shape = {"do_2D": sectors > 1, "nbpt_rad": BINS, "nbpt_azim": sectors, "unit": unit}
    writer.init(worker.get_config() | shape | {"error_model": error_model})
    results = [worker.process(image + frame) for frame in range(3)]
    for result in results:
        writer.write(result)
    writer.close()
    return results


UNITS = [("q_nm^-1", "1/nm", 1.0), ("q_A^-1", "1/angstrom", 10.0)]


@pytest.mark.parametrize(("unit", "expected", "factor"), UNITS)
@pytest.mark.parametrize("error_model", [None, "poisson"])
def test_a_stack_comes_back(tmp_path, integrator, image, unit, expected, factor, error_model):
    path = tmp_path / "stack.h5"
    results = write_stack(path, integrator, image, unit, error_model=error_model)
    samples = read(path)
    assert len(samples) == 3
    for sample, result in zip(samples, results, strict=True):
        assert (sample.origin.q_unit, sample.origin.q_unit_from) == (expected, "metadata")
        radial = result.radial.astype(np.float32).astype(np.float64)
        assert np.array_equal(sample.q, radial * factor)
        assert np.array_equal(sample.intensity, result.intensity)
        assert (sample.sigma is None) == (error_model is None)
        assert sample.sigma is None or np.array_equal(sample.sigma, result.sigma)
    # When images were integrated is not when they were measured.
    assert samples[0].origin.metadata == {"title": "Scanning 1D experiment"}


def test_entries_that_are_appended_are_all_read(tmp_path, integrator, image):
    path = tmp_path / "stack.h5"
    write_stack(path, integrator, image, "q_nm^-1")
    write_stack(path, integrator, 2.0 * image, "q_nm^-1", mode="append")
    assert len(read(path)) == 6


@pytest.mark.parametrize(
    ("unit", "sectors", "reason"),
    [
        ("2th_deg", 1, "an angle"),
        ("r_mm", 1, "a radius on the detector"),
        ("q_nm^-1", 8, "holds a cake"),
        ("2th_deg", 8, "an angle"),
    ],
)
def test_a_stack_over_another_axis_is_refused(tmp_path, integrator, image, unit, sectors, reason):
    path = tmp_path / "stack.h5"
    write_stack(path, integrator, image, unit, sectors)
    with pytest.raises(ReadError, match=reason):
        read(path)


# NXazint1d has q in 1/angstrom alone.
SAVED = [(save, *unit) for save in (nexus.save_NXcansas, nexus.save_NXmonpd) for unit in UNITS]
SAVED.append((nexus.save_NXazint1d, *UNITS[1]))


@pytest.mark.parametrize(("save", "unit", "expected", "factor"), SAVED)
def test_a_single_curve_comes_back(tmp_path, integrator, image, save, unit, expected, factor):
    path, result = tmp_path / "curve.h5", integrate(integrator, image, unit)
    save(str(path), result)
    (sample,) = read(path)
    assert sample.origin.format == ("nxcansas" if save is nexus.save_NXcansas else "nexus")
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == (expected, "metadata")
    assert np.array_equal(sample.q, result.radial * factor)
    assert np.array_equal(sample.intensity, result.intensity)
    assert np.array_equal(sample.sigma, result.sem)
    assert sample.origin.metadata["sample"] == "sample"


@pytest.mark.parametrize("save", [nexus.save_NXcansas, nexus.save_NXmonpd, nexus.save_NXazint1d])
def test_a_single_curve_over_angles_is_refused(tmp_path, integrator, image, save):
    path = tmp_path / "curve.h5"
    save(str(path), integrate(integrator, image, "2th_deg"))
    for q_unit in (None, "1/nm"):
        with pytest.raises(ReadError, match="an angle"):
            read(path, q_unit=q_unit)
