"""A compiled kernel is launched with what Numba's dispatcher would pass, and with what it takes."""

import ctypes
import re
from contextlib import nullcontext
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from gpusaxs.kernels import cache
from gpusaxs.kernels.curve_kernel import (
    IndexScratch,
    Output,
    PerCurve,
    Row,
    Rows,
    Scratch,
    Shared,
    curve_kernel,
)
from numba import types

from gpusaxs.backends.cuda.launching import (
    NumbaLauncher,
    argument_type,
    argument_words,
    array_type,
    array_words,
)

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (pip install '.[test]')")
from numba import cuda
from numba.cuda import codegen, dispatcher
from numba.cuda.cudadrv import nvvm
from numba.cuda.cudadrv.driver import CudaPythonFunction


@curve_kernel
def everything(
    values: Row,
    table: Rows,
    factor: PerCurve,
    offset: Shared,
    limits: Shared,
    wanted: Shared,
    again: Shared,
    total: Output,
    work: Scratch,
    places: IndexScratch,
) -> None:
    """Use an argument of every kind."""
    for i in range(values.shape[0]):
        places[i] = i % limits.shape[0]
        work[i] = factor * values[i] + offset + limits[places[i], 1]
    for i in range(values.shape[0]):
        if wanted[i % 2] or again:
            total[0] += work[i]
    table[0, 1] = total[0]


def compiler():
    """Skip where Numba cannot compile for a card."""
    try:
        nvvm.NVVM()
    except Exception as error:  # noqa: BLE001 whatever the toolkit says, it is the reason
        pytest.skip(f"the NVVM compiler of numba-cuda[cu13] is missing: {error}")


class OnDevice:
    """An array as CuPy describes it."""

    def __init__(self, array):
        self.array = array
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.size, self.ndim, self.flags = array.size, array.ndim, array.flags
        self.data = SimpleNamespace(ptr=array.ctypes.data)


ARGUMENTS = (
    OnDevice(np.zeros((7, 20), order="F")),
    OnDevice(np.zeros((7, 3, 4), order="F")),
    OnDevice(np.zeros(7)),
    1.5,
    OnDevice(np.zeros((3, 2), order="F")),
    OnDevice(np.array([True, False])),
    True,
    OnDevice(np.zeros(7, np.int64)),
)
ROWS = OnDevice(np.arange(5))
SPAN = OnDevice(np.zeros(7, np.int64)), OnDevice(np.full(7, 20))


def numbers(words):
    return [word.value if isinstance(word, ctypes._SimpleCData) else word for word in words]


def as_the_dispatcher_has_it(kind, value):
    """What `_Kernel.launch` of numba-cuda makes of an argument before it calls cuda.core."""

    class Wrapped:
        def to_device(self, retr, stream):
            layout = SimpleNamespace(strides_in_bytes=value.strides)
            return SimpleNamespace(
                size=value.size, dtype=value.dtype, ptr=value.data.ptr, shape=value.shape,
                _layout=layout,
            )  # fmt: skip

    words = []
    with mock.patch.object(dispatcher, "wrap_arg", return_value=Wrapped()):
        dispatcher._Kernel._prepare_args(SimpleNamespace(extensions=[]), kind, value, 0, [], words)
    return words


VALUES = [*ARGUMENTS, ROWS, *SPAN, 3, -1, False, 0.0]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_an_argument_is_taken_apart_as_numbas_dispatcher_does(value):
    expected = numbers(as_the_dispatcher_has_it(argument_type(value), value))
    mine = numbers(argument_words(value))
    assert mine == expected
    assert list(map(type, mine)) == list(map(type, expected))


def test_types_name_the_order_in_which_an_array_lies():
    def kind(shape, order="C"):
        return argument_type(OnDevice(np.zeros(shape, order=order)))

    assert kind((7, 20), "F") == types.Array(types.float64, 2, "F")
    assert kind((7, 3, 4), "F") == types.Array(types.float64, 3, "F")
    assert kind((7, 20)) == types.Array(types.float64, 2, "C")
    # Both orders are the same: one curve and many run the same code.
    assert kind((1, 20)) == types.Array(types.float64, 2, "F")
    assert kind(7) == types.Array(types.float64, 1, "C")
    every_second = OnDevice(np.zeros((8, 20), order="F")[::2])
    assert argument_type(every_second) == types.Array(types.float64, 2, "A")
    assert [argument_type(value) for value in (True, 3, 1.5)] == [
        types.boolean,
        types.int64,
        types.float64,
    ]


def signature_of(values):
    scratch = [array_type(dtype, 2, "F") for dtype in ("float64", "int64")]
    leading = map(argument_type, (ROWS, 5, *SPAN))
    return (*leading, *scratch, *map(argument_type, values))


@pytest.fixture
def loads(monkeypatch, tmp_path):
    """Code libraries that were loaded, with all of Numba but the driver; nothing is kept yet."""
    compiler()
    loaded = []

    def load(library):
        # What is put on a card, and on disk.
        library.get_cubin()
        loaded.append(library)
        return SimpleNamespace(module=None, kernel=f"kernel {len(loaded)}")

    device = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    monkeypatch.setattr(cuda, "gpus", [nullcontext(), nullcontext()])
    for module in (cuda, dispatcher):
        monkeypatch.setattr(module, "get_current_device", lambda: device)
    monkeypatch.setattr(dispatcher._Kernel, "initialize_once", lambda *_: None)
    library = codegen.CUDACodeLibrary
    monkeypatch.setattr(library, "_ensure_cc", lambda *_: (9, 0))
    monkeypatch.setattr(library, "get_cufunc", load)
    monkeypatch.setattr(codegen.JITCUDACodegen, "magic_tuple", lambda _: ("13", (9, 0)))
    assert "kernel" in CudaPythonFunction.__slots__
    return loaded


def test_a_kernel_is_compiled_once_for_all_cards_of_a_kind(loads):
    launcher = NumbaLauncher()
    first = launcher.load(everything, 0, signature_of(ARGUMENTS))
    assert launcher.load(everything, 0, signature_of(ARGUMENTS)) is first
    assert launcher.load(everything, 1, signature_of(ARGUMENTS)) != first
    assert len({id(library) for library in loads}) == 1


def test_a_kernel_is_kept_for_the_next_process(loads, monkeypatch):
    NumbaLauncher().load(everything, 0, signature_of(ARGUMENTS))
    compiled = loads[-1].get_cubin()

    def compile_again(*_, **__):
        raise AssertionError("compiled once more")

    monkeypatch.setattr(dispatcher._Kernel, "__init__", compile_again)
    NumbaLauncher().load(everything, 0, signature_of(ARGUMENTS))
    assert loads[-1] is not loads[0]
    assert loads[-1].get_cubin().code == compiled.code
    other = (*ARGUMENTS[:3], 2, *ARGUMENTS[4:])
    with pytest.raises(AssertionError, match="compiled once more"):
        NumbaLauncher().load(everything, 0, signature_of(other))


WIDTHS = {"u8": 1, "b8": 1, "s8": 1, "u64": 8, "b64": 8, "s64": 8, "f64": 8}


def width(word):
    return 1 if isinstance(word, bool) else 8


def test_a_compiled_kernel_asks_for_as_many_parameters_of_the_same_widths():
    compiler()
    before = (ROWS, 5, *SPAN)
    words = [word for value in before for word in argument_words(value)]
    words += 2 * array_words(4096, 8, (5, 20), (8, 40))
    words += [word for value in ARGUMENTS for word in argument_words(value)]
    device = SimpleNamespace(compute_capability=(9, 0))
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        ptx, _ = cuda.compile_ptx(
            everything.cuda_source(cuda), types.void(*signature_of(ARGUMENTS)), cc=(9, 0)
        )
    entry = re.search(r"\.entry[^(]*\((.*?)\)", ptx, re.DOTALL).group(1)
    asked = [WIDTHS[kind] for kind in re.findall(r"\.param\s+(?:\.align \d+ )?\.(\w+)", entry)]
    assert asked == list(map(width, words))
