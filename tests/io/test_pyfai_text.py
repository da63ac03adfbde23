"""One-dimensional results as pyFAI writes them to text."""

import warnings

import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.sample import CurveStatus

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    azimuthal = pytest.importorskip("pyFAI.integrator.azimuthal", exc_type=ImportError)

POINTS = 40


@pytest.fixture(scope="module")
def integrator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return azimuthal.AzimuthalIntegrator(
            dist=1.0, poni1=0.01, poni2=0.01, pixel1=1e-4, pixel2=1e-4, wavelength=1e-10
        )


def integrate(integrator, path, unit, error_model=None):
    image = np.random.default_rng(0).poisson(100, (120, 120)).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return integrator.integrate1d(
            image, POINTS, unit=unit, error_model=error_model, filename=str(path)
        )


@pytest.mark.parametrize(("unit", "name"), [("q_nm^-1", "1/nm"), ("q_A^-1", "1/angstrom")])
def test_without_errors_the_unit_of_q_is_that_of_the_file(tmp_path, integrator, unit, name):
    result = integrate(integrator, tmp_path / "a.dat", unit)
    (sample,) = read(tmp_path / "a.dat")
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == (name, "metadata")
    assert sample.status == CurveStatus.OK
    assert sample.sigma is None
    factor = 10.0 if name == "1/angstrom" else 1.0
    assert np.allclose(sample.q, factor * result.radial, rtol=1e-5)
    assert np.allclose(sample.intensity, result.intensity, rtol=1e-5)


@pytest.mark.parametrize("unit", ["q_nm^-1", "q_A^-1"])
def test_with_errors_the_unit_is_guessed_and_said_to_be_a_guess_if_the_file_lacks_it(
    tmp_path, integrator, unit
):
    # The name of the file stands in its header: it states nothing.
    path = tmp_path / "q_nm^-1_and_q_A^-1.dat"
    other = tmp_path / f"{unit}.dat"
    result = integrate(integrator, path, unit, "poisson")
    integrate(integrator, other, unit, "poisson")
    for (sample,) in (read(path), read(other)):
        if f"#{unit}" in path.read_text(encoding="utf-8"):
            assert sample.origin.q_unit_from == "metadata"
        else:
            assert sample.origin.q_unit_from == "guess"
            assert sample.status == CurveStatus.Q_UNIT_GUESSED
        assert np.allclose(sample.intensity, result.intensity, rtol=1e-5)
        assert np.allclose(sample.sigma, result.sigma, rtol=1e-5)
    (sample,) = read(path, unit)
    factor = 10.0 if unit == "q_A^-1" else 1.0
    assert np.allclose(sample.q, factor * result.radial, rtol=1e-5)


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ("2th_deg", "scattering angle"),
        ("2th_rad", "scattering angle"),
        ("r_mm", "place on the detector"),
        ("r_m", "place on the detector"),
        ("d*2_A^-2", "spacing"),
        ("log10(q.m)_None", "function of q"),
        ("log(1+q.nm)_None", "function of q"),
        ("arcsinh(q.nm)_None", "function of q"),
        ("chi_deg", "azimuth"),
    ],
)
def test_other_axes_are_refused_with_the_way_out(tmp_path, integrator, unit, reason):
    integrate(integrator, tmp_path / "a.dat", unit)
    with pytest.raises(ReadError, match=reason) as refused:
        read(tmp_path / "a.dat")
    if unit.startswith(("2th", "r_", "chi", "log", "arcsinh")):
        assert "q_nm^-1" in str(refused.value)


def test_the_header_of_other_versions_with_errors_is_understood(tmp_path):
    rows = "".join(f"{0.1 * k:.6e} 5.0 1.0\n" for k in range(1, 9))
    path = tmp_path / "a.dat"
    path.write_text(f"# pyFAI\n#q_nm^-1         I              sigma\n{rows}", encoding="utf-8")
    (sample,) = read(path)
    assert sample.origin.q_unit_from == "metadata"
    assert sample.status == CurveStatus.OK
    path.write_text(f"# pyFAI\n#2th_deg         I              sigma\n{rows}", encoding="utf-8")
    with pytest.raises(ReadError, match="scattering angle"):
        read(path)
