"""The order of copies, launches and memory on GPUs, with what stands for them in `cuda_double`."""

import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda_double import Card, DoubleOfCupy, LauncherOfTheCpu
from gpusaxs.kernels.curve_kernel import Output, Row, Scratch, Shared, curve_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

import gpusaxs
from gpusaxs.backends.cuda import copying, memory
from gpusaxs.backends.cuda.backend import CudaBackend
from gpusaxs.backends.cuda.memory import BESIDE_ARRAYS, MOST_PINNED, PinnedPool, batch_bytes
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import BackendError, OutOfMemoryError
from gpusaxs.runtime import runtime as runtime_module
from gpusaxs.runtime.parts import in_parts
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.simulate import simulate
from gpusaxs.tables import tables_of

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed (pip install '.[test]')",
)

POINTS = 200


@curve_kernel
def weighed(values: Row, weights: Shared, total: Output, work: Scratch) -> None:
    """Sum of values times weights, by way of the scratch."""
    for i in range(values.shape[0]):
        work[i] = values[i] * weights[i]
    for i in range(values.shape[0]):
        total[0] += work[i]


def backend_on(*cards, name="cuda", device_memory=None):
    cupy = DoubleOfCupy(cards)
    return CudaBackend(name, device_memory, cupy=cupy, launcher=LauncherOfTheCpu(cupy))


@pytest.fixture
def card():
    return Card(0)


@pytest.fixture
def device(card):
    return backend_on(card)


@pytest.fixture
def small_buffers(monkeypatch):
    """Copies in many pieces, as large arrays have them."""
    for module in (copying, memory):
        monkeypatch.setattr(module, "LARGEST_BUFFER", 256)
    monkeypatch.setattr(memory, "SMALLEST_BUFFER", 64)


@pytest.fixture(scope="module")
def curves():
    return simulate(7, seed=3, phases=["hexagonal", "lamellar"], counts=20000.0, points=POINTS)


def names(log):
    return [entry[0] for entry in log]


def batch_of(curves, backend, count=7):
    ids = [str(i) for i in range(count)]
    rows = slice(0, count)
    return SampleBatch.from_arrays(
        ids, curves.q, curves.intensity[rows], curves.sigma[rows], backend
    )


def use(monkeypatch, backend):
    """Let `gpusaxs.process` have a backend."""
    monkeypatch.setattr(runtime_module, "get_backend", lambda *_: backend)


def assert_same_tables(mine, theirs):
    for name in ("samples", "peaks", "phases"):
        assert repr(getattr(mine, name).to_pylist()) == repr(getattr(theirs, name).to_pylist())


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(["float64", "int64", "bool"]),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 99),
)
def test_arrays_come_back_as_they_went(shape, dtype, order, seed):
    with pytest.MonkeyPatch.context() as patch:
        small_buffers.__wrapped__(patch)
        backend = backend_on(Card(0))
        array = np.random.default_rng(seed).integers(0, 2, shape).astype(dtype)
        given_array = np.asarray(array, order=order)
        with backend.lane():
            there = backend.to_device(given_array)
            given_array = given_array.copy()
            assert there.flags.f_contiguous
            back = backend.to_host(there)
        assert back.flags.c_contiguous
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.usefixtures("small_buffers")
def test_a_pinned_buffer_is_used_again_only_when_its_copy_has_happened(device):
    arrays = [np.full(30, float(number)) for number in range(40)]
    with device.lane():
        there = [device.to_device(array) for array in arrays]
        for array, copy in zip(arrays, there, strict=True):
            np.testing.assert_array_equal(device.to_host(copy), array)


@pytest.mark.usefixtures("small_buffers")
def test_where_pinned_memory_is_short_a_copy_waits_for_the_one_before(device, monkeypatch):
    monkeypatch.setattr(memory, "MOST_PINNED", 1024)
    arrays = [np.full(30, float(number)) for number in range(40)]
    with device.lane():
        there = [device.to_device(array) for array in arrays]
        for array, copy in zip(arrays, there, strict=True):
            np.testing.assert_array_equal(device.to_host(copy), array)
    assert sum(device.xp.pinned) <= 1024


def test_pinned_buffers_are_made_once_and_used_again(device):
    for _ in range(5):
        with device.lane():
            device.to_host(device.to_device(np.ones((50, 60))))
    assert len(device.xp.pinned) <= 2


def test_pinned_memory_is_bounded_and_a_wait_takes_its_place(card):
    cupy = DoubleOfCupy([card])
    pool = PinnedPool(cupy)
    stream = cupy.cuda.Stream(non_blocking=False)
    for _ in range(100):
        buffer = pool.take(memory.LARGEST_BUFFER)
        buffer.event.record(stream)
        pool.give(buffer)
    assert pool.nbytes <= MOST_PINNED
    assert len(cupy.pinned) == MOST_PINNED // memory.LARGEST_BUFFER


@pytest.mark.parametrize(
    ("pipeline", "changes"),
    [
        ("standard", ()),
        ("precise", ()),
        ("solution", ()),
        ("classic", ("find_peak.height=0.01", "find_peak.prominence=0.01")),
    ],
)
def test_a_pipeline_finds_what_it_finds_on_the_cpu(device, curves, pipeline, changes):
    chosen = gpusaxs.Pipeline.load(pipeline).with_settings(changes)
    found = []
    for backend in (device, NumpyBackend(1)):
        with backend.lane():
            batch = batch_of(curves, backend)
            Runtime(backend, pipeline=chosen).run_on(batch)
            found.append(tables_of(batch, [gpusaxs.sample.Origin()] * 7))
    assert found[1].peaks.num_rows > 7 or pipeline == "solution"
    assert not any("failed" in verdict for verdict in found[1].samples["verdict"].to_pylist())
    assert_same_tables(*found)


def test_work_outside_of_lanes_is_done_too(device, curves):
    batch, theirs = (batch_of(curves, backend) for backend in (device, NumpyBackend(1)))
    for each in (batch, theirs):
        Runtime(each.backend).run_on(each)
    np.testing.assert_array_equal(device.to_host(batch.n_peaks), theirs.n_peaks)


def launches_of(card, kernel):
    """What the log has before the next launch, for each launch of a kernel."""
    log = [entry for entry in card.log if entry[0] != "up"]
    starts = [i for i, entry in enumerate(log) if entry[0] == "launch"]
    ends = [*starts[1:], len(log)]
    return [
        names(log[start + 1 : end])
        for start, end in zip(starts, ends, strict=True)
        if log[start][2] == kernel
    ]


def test_a_launch_reads_back_once_at_most_and_not_where_the_next_stage_is_known(
    device, card, curves
):
    with device.lane():
        batch = batch_of(curves, device)
        Runtime(device).run_on(batch)
    assert {tuple(after) for after in launches_of(card, "find_peak")} == {("down",)}
    assert {tuple(after) for after in launches_of(card, "process_peak")} == {()}
    assert {tuple(after) for after in launches_of(card, "savgol")} <= {(), ("down",)}
    assert max(len(after) for _, _, name in card.log if isinstance(name, str)
               for after in launches_of(card, name)) <= 1  # fmt: skip


def test_only_results_come_back_and_curves_go_up_once(device, card, curves):
    with device.lane():
        batch = batch_of(curves, device)
        Runtime(device).run_on(batch)
        sent = sum(nbytes for kind, _, nbytes in card.log if kind == "up")
        card.log.clear()
        tables_of(batch, [gpusaxs.sample.Origin()] * 7)
    # Intensity and sigma, one q for all, and what is small.
    assert sent < 8 * POINTS * (2 * 7 + 1) + 30_000
    received = sum(nbytes for kind, _, nbytes in card.log if kind == "down")
    most = int(batch.n_peaks.array.max())
    assert received < 7 * 8 * (most * batch.peaks.shape[2] + batch.phases.array[0].size + 20)


def test_tables_and_row_numbers_go_up_once(device, card):
    weights = np.arange(5.0)
    with device.lane():
        values, total = device.to_device(np.ones((3, 5))), device.to_device(np.zeros(3))
        span = device.to_device(np.zeros(3, np.int64)), device.to_device(np.full(3, 5))
        card.log.clear()
        for _ in range(4):
            device.launch(weighed, np.arange(3), span, values, weights.copy(), total)
        assert names(card.log) == ["up", "up", "launch", "launch", "launch", "launch"]
        weights[0] = 7.0
        device.launch(weighed, np.arange(1, 3), span, values, weights, total)
        assert names(card.log)[6:] == ["up", "up", "launch"]
        np.testing.assert_array_equal(device.to_host(total), [40.0, 57.0, 57.0])
    with device.lane():
        card.log.clear()
        total = device.to_device(np.zeros(3))
        values = device.to_device(np.ones((3, 5)))
        span = device.to_device(np.zeros(3, np.int64)), device.to_device(np.full(3, 5))
        device.launch(weighed, np.arange(3), span, values, np.arange(5.0), total)
        np.testing.assert_array_equal(device.to_host(total), [10.0, 10.0, 10.0])
    assert sum(kind == "up" for kind, _, _ in card.log) == 5


def test_a_launch_with_the_same_arguments_is_prepared_once(device, curves):
    with device.lane():
        batch = batch_of(curves, device)
        Runtime(device).run_on(batch)
        loaded = [name for name, _ in device._launcher.loaded]
        # Once more after the fit, which needs more scratch than all before it.
        assert loaded.count("find_peak") == 2
        assert loaded.count("process_peak") == 1


def test_rows_and_tables_that_were_changed_in_place_are_sent_again(device):
    weights, rows = np.ones(3), np.array([0, 1])
    with device.lane():
        values, total = device.to_device(np.ones((4, 3))), device.to_device(np.zeros(4))
        span = device.to_device(np.zeros(4, np.int64)), device.to_device(np.full(4, 3))
        for factor, first in ((1.0, 0), (2.0, 0), (2.0, 1), (5.0, 2)):
            weights[:] = factor
            rows[:] = first, first + 1
            device.launch(weighed, rows, span, values, weights, total)
        np.testing.assert_array_equal(device.to_host(total), [9.0, 15.0, 21.0, 15.0])


def test_a_number_of_another_kind_or_value_is_not_taken_for_the_one_before(device):
    with device.lane():
        values, total = device.to_device(np.ones((2, 3))), device.to_device(np.zeros(2))
        span = device.to_device(np.zeros(2, np.int64)), device.to_device(np.full(2, 3))
        for weights in (np.ones(3), np.full(3, 2.0), np.full(3, 3, np.int64)):
            device.launch(weighed, np.arange(2), span, values, weights, total)
        np.testing.assert_array_equal(device.to_host(total), [18.0, 18.0])


@pytest.mark.parametrize("room", [1, 2, 5, 64])
def test_where_scratch_is_short_a_launch_goes_on_by_halves(card, device, room):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(200, 300))
    with device.lane():
        there, total = device.to_device(values), device.to_device(np.zeros(200))
        span = device.to_device(np.zeros(200, np.int64)), device.to_device(np.full(200, 300))
        card.largest = max(room * 300 * 8 + 255, 4096)
        rows = np.arange(0, 200, 2)
        for _ in range(2):
            device.launch(weighed, rows, span, there, np.ones(300), total)
        found = device.to_host(total)
    expected = np.zeros(200)
    expected[rows] = 2.0 * values[rows].sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    groups = [group for name, group in card.launched if name == "weighed"]
    assert max(map(len, groups)) <= max(room, 4096 * 2 // 2400)
    assert np.concatenate(groups[: len(groups) // 2]).tolist() == rows.tolist()


def test_a_launch_for_whose_single_curve_there_is_no_room_touches_none(card, device):
    with device.lane():
        there, total = device.to_device(np.ones((4, 300))), device.to_device(np.zeros(4))
        span = device.to_device(np.zeros(4, np.int64)), device.to_device(np.full(4, 300))
        weights = np.ones(300)
        card.largest = 2400
        with pytest.raises(OutOfMemoryError, match="'weighed' over one curve of 300 points"):
            device.launch(weighed, np.arange(4), span, there, weights, total)
        assert not device.to_host(total).any()


def test_blocks_for_which_there_is_no_room_are_halved(monkeypatch, curves, caplog):
    expected = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm",
                               backend="numpy", workers=1)  # fmt: skip
    card = Card(0)
    use(monkeypatch, backend_on(card))
    # Room for the scratch of one curve, and for the peaks of four.
    card.largest = 28_200
    monkeypatch.setattr(CudaBackend, "curves_at_once", lambda self, points: None)
    found = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    assert_same_tables(found, expected)
    assert "4 curves at once from now on" in caplog.text


@pytest.mark.parametrize("error", [OutOfMemoryError, MemoryError])
def test_curves_that_belong_together_are_never_halved(device, error):
    asked = []

    def full(part):
        asked.append(part.stop - part.start)
        raise error("full")

    with pytest.raises(error, match="full"):
        in_parts(device, 8, POINTS, full, lambda *_: None, together=True)
    assert asked == [8]
    with pytest.raises(error, match="full"):
        in_parts(device, 8, POINTS, full, lambda *_: None)
    assert asked == [8, 8, 4, 2, 1]


def test_groups_are_sized_from_what_is_free_and_not_from_what_there_is(card, device):
    whole, scratch = device.curves_at_once(1000), device.rows_at_once(1000)
    assert whole == card.total // (3 * batch_bytes(1000))
    card.others = 9 * card.total // 10
    assert whole // 11 < device.curves_at_once(1000) <= whole // 10
    assert scratch // 11 < device.rows_at_once(1000) <= scratch // 10
    card.others = card.total
    assert device.curves_at_once(1000) == device.rows_at_once(1000) == 1


def test_a_run_leaves_the_memory_that_it_was_told_to_leave(monkeypatch, curves):
    room = 5 * batch_bytes(POINTS)
    card = Card(0)
    device = backend_on(card, device_memory=BESIDE_ARRAYS + room)
    use(monkeypatch, device)
    assert device.curves_at_once(POINTS) == 1
    found = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    assert len(found) == 7
    assert 0 < card.most_used <= room


def test_a_limit_that_leaves_nothing_for_arrays_is_refused():
    with pytest.raises(BackendError, match=r"more than 1 GB.*Got 0\.5 GB"):
        backend_on(Card(0), device_memory=500_000_000)


def test_blocks_in_flight_have_streams_of_their_own_and_later_blocks_use_them_again(
    device, card, curves
):
    together = threading.Barrier(3, timeout=20.0)

    def block(_):
        with device.lane():
            batch = batch_of(curves, device)
            together.wait()
            device.synchronize()
            return device.to_host(batch.intensity)

    with ThreadPoolExecutor(device.blocks_in_flight) as pool:
        for found in pool.map(block, range(9)):
            np.testing.assert_array_equal(found, curves.intensity)
    assert device.blocks_in_flight == 3
    assert len(card.streams) == 3
    ups = [stream for kind, stream, _ in card.log if kind == "up"]
    assert set(ups) == {stream.ptr for stream in card.streams}
    # Nothing of one block waits for another: the uploads of the second come before the first
    # download.
    first_down = names(card.log).index("down")
    assert len(set(ups[:first_down])) > 1


def test_a_lane_within_a_lane_is_the_same(device, card):
    with device.lane():
        there = device.to_device(np.arange(3.0))
        with device.lane():
            np.testing.assert_array_equal(device.to_host(there), np.arange(3.0))
    assert len(card.streams) == 1


def test_a_lane_that_was_left_in_an_error_is_used_again(device, card):
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), device.lane():
            raise ZeroDivisionError
    assert len(card.streams) == 1
    assert device._at_work == {0: 0}


def test_what_is_done_in_a_lane_is_done_when_it_is_left(device):
    with device.lane():
        there = device.to_device(np.arange(3.0))
        there[...] = 5.0
    assert not any(stream.tasks for stream in device.xp.streams.values())
    np.testing.assert_array_equal(there.array, 5.0)


@pytest.mark.parametrize("name", ["cuda:0,1", "cuda:all"])
def test_several_cards_take_blocks_from_the_same_pool(monkeypatch, curves, name):
    cards = Card(0), Card(1)
    device = backend_on(*cards, name=name)
    assert device.blocks_in_flight == 6
    monkeypatch.setattr(CudaBackend, "block_points", 2 * POINTS)
    expected = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm",
                               backend="numpy", workers=1)  # fmt: skip
    use(monkeypatch, device)
    found = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    assert_same_tables(found, expected)
    held = threading.Barrier(4, timeout=20.0)

    def number(_):
        with device.lane():
            held.wait()
            return device.xp.device

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(number, range(4))) == [0, 0, 1, 1]


def test_a_card_that_is_asked_for_does_all_and_the_others_nothing(curves):
    cards = Card(0), Card(1)
    device = backend_on(*cards, name="cuda:1")
    Runtime(device).run([gpusaxs.Sample("a", curves.q, curves.intensity[0], curves.sigma[0])])
    assert cards[0].log == []
    assert "launch" in names(cards[1].log)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:0,0", "cuda:0,5"])
def test_a_card_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(BackendError, match="different GPUs from 0 to 1"):
        backend_on(Card(0), Card(1), name=name)


def test_a_run_of_many_blocks_leaves_nothing_on_the_card(monkeypatch, device, card, curves):
    use(monkeypatch, device)
    monkeypatch.setattr(CudaBackend, "block_points", 2 * POINTS)
    gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    kept = card.used
    gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    assert card.used == kept < 300_000
    device.close()
    assert card.used == 0


def test_a_part_leaves_the_card_before_the_next_one_comes(device, card):
    used = []

    def stack(part):
        device.synchronize()
        used.append(card.used)
        return device.empty((1000, 100))

    in_parts(device, 3, POINTS, stack, lambda *_: used.append(card.used))
    assert len(used) == 2
    device._memory.whole = lambda: 3 * batch_bytes(POINTS)
    used.clear()
    in_parts(device, 3, POINTS, stack, lambda *_: None)
    assert used == [0, 0, 0]
