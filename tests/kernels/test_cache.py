"""Compiled kernels are kept by one process at a time."""

import threading

import numba
import pytest
from gpusaxs.kernels import cache


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    return tmp_path


def test_two_processes_never_write_to_the_folder_at_once(place):
    double = cache.enable(numba.njit(lambda x: 2.0 * x))
    compiling = threading.Thread(target=double, args=(1.0,))
    with cache.alone_in(place):
        compiling.start()
        compiling.join(1.0)
        assert not list(place.glob("*.nbi"))
    compiling.join()
    assert len(list(place.glob("*.nbi"))) == 1
