"""Which cards there are, how they are named, and what is said where there are none."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
from cuda_double import Card, DoubleOfCupy

from gpusaxs.backends import check_backend, get_backend
from gpusaxs.backends.cuda import devices as module
from gpusaxs.backends.cuda.devices import Device, devices, driver, modules, numbers_of
from gpusaxs.backends.memory_size import bytes_of
from gpusaxs.errors import BackendError


class CUDARuntimeError(Exception):
    """As CuPy raises it."""


@pytest.fixture
def cupy(monkeypatch):
    """A CuPy with two cards, that is there to be imported."""
    double = DoubleOfCupy([Card(0, total=80 * 10**9), Card(1, total=16 * 10**9)])
    double.cards[1].others = 4 * 10**9
    double.cuda.runtime.CUDARuntimeError = CUDARuntimeError
    double.cuda.runtime.runtimeGetVersion = lambda: 13020
    monkeypatch.setitem(sys.modules, "cupy", double)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return double


def test_each_card_is_told_with_its_memory_and_compute_capability(cupy):
    assert devices(cupy) == [
        Device(0, "Double 0", (9, 0), 80 * 10**9, 80 * 10**9),
        Device(1, "Double 1", (9, 0), 16 * 10**9, 12 * 10**9),
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n",
            "580.65.06, CUDA 13.2",
        ),
        ("something else\n", "CUDA 13.2"),
        (None, "CUDA 13.2"),
    ],
)
def test_the_driver_is_told_with_its_release_where_it_says_so(
    cupy, tmp_path, monkeypatch, written, told
):
    place = tmp_path / "version"
    if written is not None:
        place.write_text(written)
    monkeypatch.setattr(module, "_RELEASE", place)
    assert driver(cupy) == told


@pytest.mark.parametrize("missing", ["numba_cuda", "cupy"])
def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch, missing):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else name)
    name = {"numba_cuda": "numba-cuda", "cupy": "CuPy"}[missing]
    with pytest.raises(BackendError, match=rf"{name}, which is not installed.*gpusaxs\[cuda\]"):
        modules()


def test_a_package_that_cannot_be_loaded_says_why(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match=r"cannot load what it needs: .*cupy"):
        modules()


def test_a_missing_driver_is_told_from_a_missing_card(cupy):
    def no_card():
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    cupy.cuda.runtime.getDeviceCount = no_card
    with pytest.raises(BackendError, match=r"no usable NVIDIA GPU: .*NoDevice.*knows CUDA 13\.2"):
        modules()
    cupy.cuda.runtime.driverGetVersion = lambda: 0
    with pytest.raises(BackendError, match="needs the NVIDIA driver, and there is none here"):
        modules()


def test_other_errors_of_the_driver_are_not_taken_for_a_missing_card(cupy):
    def broken():
        raise ZeroDivisionError

    cupy.cuda.runtime.getDeviceCount = broken
    with pytest.raises(ZeroDivisionError):
        modules()


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("cuda", (0,)), ("cuda:1", (1,)), ("cuda:2,0", (2, 0)), ("cuda:all", (0, 1, 2))],
)
def test_a_name_means_cards(name, numbers):
    assert numbers_of(name, 3) == numbers


@pytest.mark.parametrize("name", ["cuda:", "cuda:a", "cuda:1,", "cuda:-1", "gpu", "CUDA", "cuda 1"])
def test_other_names_are_refused_before_anything_is_loaded(name):
    with pytest.raises(BackendError, match="Expected backend 'auto', 'numpy', 'cuda', 'cuda:1'"):
        check_backend(name)
    with pytest.raises(BackendError, match="Got '"):
        get_backend(name)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (12, 12),
        ("12", 12),
        ("20GB", 20 * 10**9),
        ("1.5 gb", 1_500_000_000),
        ("512MiB", 2**29),
        ("2TiB", 2**41),
    ],
)
def test_amounts_of_memory(size, expected):
    assert bytes_of(size) == expected


@pytest.mark.parametrize("size", ["", "GB", "-1", -1, "20 apples", "1e9", "1,5GB"])
def test_what_is_no_amount_of_memory_is_refused(size):
    with pytest.raises(ValueError, match="such as '20GB'"):
        bytes_of(size)


def test_info_tells_of_each_card(cupy, monkeypatch, tmp_path):
    from gpusaxs.cli.info import _cards

    monkeypatch.setattr(module, "modules", lambda: (SimpleNamespace(), cupy))
    monkeypatch.setattr(module, "_RELEASE", tmp_path / "none")
    assert _cards() == [
        "driver CUDA 13.2",
        "0: Double 0, compute capability 9.0, 80.0 of 80.0 GB free",
        "1: Double 1, compute capability 9.0, 12.0 of 16.0 GB free",
    ]
