import io
import zipfile

import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read

Q = np.linspace(0.01, 0.3, 20)
INTENSITY = np.exp(-Q)
SIGMA = 0.1 * INTENSITY


def saved(tmp_path, array):
    path = tmp_path / "curve.npy"
    np.save(path, array)
    return path


def zipped(tmp_path, **arrays):
    path = tmp_path / "curve.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_curve_may_lie_in_rows_or_columns(tmp_path, rows_first, columns, order):
    table = np.array([Q, INTENSITY, SIGMA][:columns])
    path = saved(tmp_path, np.asarray(table if rows_first else table.T, order=order))
    (sample,) = read(path)
    assert sample.id == "curve.npy"
    assert np.allclose(sample.q, 10.0 * Q)
    assert np.array_equal(sample.intensity, INTENSITY)
    assert (sample.sigma is None) == (columns == 2)


@pytest.mark.parametrize("dtype", [np.float32, ">f8", np.float16])
def test_other_real_types_become_float64(tmp_path, dtype):
    (sample,) = read(saved(tmp_path, np.array([Q, INTENSITY]).astype(dtype)))
    assert sample.intensity.dtype == np.float64
    assert np.allclose(sample.intensity, INTENSITY, rtol=1e-3)


def test_frames_of_a_stack_share_q_and_are_rows_of_one_array(tmp_path):
    stack = np.array([[Q, INTENSITY * k, SIGMA] for k in range(1, 6)])
    samples = read(saved(tmp_path, stack))
    assert [sample.id for sample in samples] == [f"curve.npy#{k}" for k in range(5)]
    assert [sample.origin.frame for sample in samples] == list(range(5))
    assert all(sample.q is samples[0].q for sample in samples)
    assert all(sample.intensity.base is samples[0].intensity.base for sample in samples)
    assert np.array_equal(samples[3].intensity, INTENSITY * 4)


def test_frames_with_q_of_their_own_keep_it(tmp_path):
    stack = np.array([[Q * k, INTENSITY] for k in range(1, 4)])
    samples = read(saved(tmp_path, stack), q_unit="1/nm")
    assert np.allclose(samples[2].q, 3.0 * Q)


@pytest.mark.parametrize("names", [("q", "intensity", "sigma"), ("Q", "I", "error")])
def test_an_npz_is_read_by_the_names_of_its_arrays(tmp_path, names):
    path = zipped(tmp_path, **dict(zip(names, (Q, INTENSITY, SIGMA), strict=True)))
    (sample,) = read(path)
    assert sample.id == "curve.npz"
    assert np.array_equal(sample.sigma, SIGMA)


def test_an_npz_may_hold_a_stack_and_state_the_unit(tmp_path):
    frames = np.array([INTENSITY, 2 * INTENSITY])
    path = zipped(tmp_path, q=Q, intensity=frames, q_unit=np.array("1/nm"))
    samples = read(path)
    assert len(samples) == 2
    assert samples[0].q is samples[1].q
    assert samples[1].origin.q_unit_from == "metadata"
    assert np.array_equal(samples[1].q, Q)


def test_a_compressed_npz_is_read(tmp_path):
    path = tmp_path / "curve.npz"
    np.savez_compressed(path, q=Q, I=INTENSITY)
    assert np.array_equal(read(path)[0].intensity, INTENSITY)


@pytest.mark.parametrize(
    "shape", [(3, 3), (2, 3), (3, 2), (40, 1566), (5,), (4, 4, 20), (2, 3, 2), (2, 2, 2, 20), ()]
)
def test_a_shape_that_is_not_clearly_a_curve_is_refused_with_what_is_expected(tmp_path, shape):
    with pytest.raises(ReadError, match=r"shape .*: expected one curve as \(points, 2 or 3\)|no p"):
        read(saved(tmp_path, np.ones(shape)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 2, 10)])
def test_an_array_without_points_is_refused(tmp_path, shape):
    with pytest.raises(ReadError, match="holds no points"):
        read(saved(tmp_path, np.ones(shape)))


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "curve.npy"
    np.save(path, np.array([{"q": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match="Python objects"):
        read(path)
    path = zipped(tmp_path, q=Q, intensity=np.array(["a"] * 20))
    with pytest.raises(ReadError, match="expected real numbers"):
        read(path)


def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path):
    with pytest.raises(ReadError, match=r"shapes q \(20,\), intensity \(10,\)"):
        read(zipped(tmp_path, q=Q, intensity=INTENSITY[:10]))
    with pytest.raises(ReadError, match=r"sigma \(10,\)"):
        read(zipped(tmp_path, q=Q, intensity=INTENSITY, sigma=SIGMA[:10]))


def test_missing_and_doubled_arrays_are_named(tmp_path):
    with pytest.raises(ReadError, match=r"holds the arrays \['a'\]: expected 'q'"):
        read(zipped(tmp_path, a=Q))
    with pytest.raises(ReadError, match=r"several arrays for intensity: \['I', 'intensity'\]"):
        read(zipped(tmp_path, q=Q, I=Q, intensity=Q))


def test_a_truncated_file_is_refused(tmp_path):
    path = saved(tmp_path, np.array([Q, INTENSITY]))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ReadError, match="declares 320 bytes of numbers but holds 312"):
        read(path)
    path = zipped(tmp_path, q=Q, intensity=INTENSITY)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReadError, match="damaged NumPy file"):
        read(path)


def absurd_header(shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(10**15, 2), (2, -5), (10**30, 3)])
def test_an_absurd_declared_size_is_refused_before_memory_is_taken(tmp_path, shape):
    path = tmp_path / "curve.npy"
    path.write_bytes(absurd_header(shape))
    with pytest.raises(ReadError, match=r"declares|holds no points"):
        read(path)
    with zipfile.ZipFile(tmp_path / "curve.npz", "w") as archive:
        archive.writestr("q.npy", absurd_header(shape))
    with pytest.raises(ReadError, match=r"declares|holds no points"):
        read(tmp_path / "curve.npz")
