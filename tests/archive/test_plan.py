"""Plans of files that only exist as numbers: `extent` is a table, so no file is opened."""

from dataclasses import dataclass
from itertools import islice, pairwise
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive import plan
from gpusaxs.archive.plan import BlockLimits, ListedFile, Planner, Position
from gpusaxs.errors import ReadError
from gpusaxs.io import Extent

LEAST_POINTS = 256
"""A curve counts as so many points at least."""

unhurried = settings(deadline=None)


@dataclass
class Files:
    """A listing whose files hold what `held` says; a sentence is why one cannot be read."""

    held: list

    def __post_init__(self):
        self.listing = [
            ListedFile(f"f{number}", f"/nowhere/f{number}", 1000 * (number + 1), 1)
            for number in range(len(self.held))
        ]
        self.asked = []

    def extent(self, source, size):
        number = int(source.path.name.removeprefix("f"))
        assert size == self.listing[number].size
        self.asked.append(number)
        if isinstance(self.held[number], str):
            raise ReadError(self.held[number])
        return self.held[number]

    def planner(self, limits, done=None, limit=None):
        return Planner(self.listing, limits, done or {}, limit)

    def rows(self):
        """Every curve in order, and a row for each file that cannot be read."""
        return [
            (number, frame)
            for number, held in enumerate(self.held)
            for frame in range(1 if isinstance(held, str) else held.curves)
        ]

    def points(self, number):
        held = self.held[number]
        return 1 if isinstance(held, str) else held.points


def planned(files, limits, done=None, limit=None):
    """All blocks; `files.asked` has the files that were opened for them."""
    with mock.patch.object(plan, "extent", files.extent):
        # A plan that does not get on would never end.
        return list(islice(files.planner(limits, done, limit).blocks(), len(files.rows()) + 1))


def rows_of(block, files):
    """What a reader of this block gives, from its units alone."""
    rows = []
    for unit in block.units:
        frames = range(1) if unit.frames is None else unit.frames
        held = files.held[unit.file]
        assert unit.problem == (held if isinstance(held, str) else "")
        assert (unit.frames is None) == (isinstance(held, str) or held.curves == 1)
        assert len(frames) == unit.curves > 0
        rows += [(unit.file, frame) for frame in frames]
    assert len(rows) == block.curves
    return rows


EXTENTS = st.one_of(
    st.builds(Extent, st.just(1), st.integers(1, 3000)),
    st.builds(Extent, st.integers(1, 60), st.integers(1, 3000), st.integers(1, 20)),
    st.sampled_from(["is empty", "is damaged"]),
)
FILES = st.lists(EXTENTS, min_size=1, max_size=12).map(Files)
LIMITS = st.one_of(
    st.builds(BlockLimits, st.integers(1, 80)),
    st.builds(BlockLimits, st.none(), st.integers(1, 40_000)),
)


@unhurried
@given(FILES, LIMITS)
def test_every_curve_is_in_one_block_and_in_order(files, limits):
    blocks = planned(files, limits)
    assert [row for block in blocks for row in rows_of(block, files)] == files.rows()
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert blocks[0].start == Position(0, 0)
    assert blocks[-1].stop == Position(len(files.held), 0)
    assert all(one.stop == other.start for one, other in pairwise(blocks))


@unhurried
@given(FILES, st.integers(1, 80))
def test_blocks_have_exactly_the_size_asked_for_but_for_the_last(files, size):
    counts = [block.curves for block in planned(files, BlockLimits(size))]
    rows = len(files.rows())
    assert counts == [size] * (rows // size) + [rows % size] * (rows % size > 0)


@unhurried
@given(FILES, st.integers(1, 40_000))
def test_a_block_keeps_within_its_points_padded_to_its_longest_curve(files, points):
    for block in planned(files, BlockLimits(None, points)):
        longest = max(files.points(unit.file) for unit in block.units)
        padded = block.curves * max(longest, LEAST_POINTS)
        assert padded <= points or block.curves == 1


@unhurried
@given(FILES, st.integers(1, 40_000))
def test_a_block_of_points_takes_whole_files_until_one_has_no_room(files, points):
    for block in planned(files, BlockLimits(None, points)):
        if block.stop.file < len(files.held):
            # Nothing of the next file, or of this one's rest, would have fitted beside it.
            held = files.held[block.stop.file]
            left = 1 if isinstance(held, str) else held.curves - block.stop.frame
            units = [*(unit.file for unit in block.units), block.stop.file]
            longest = max(*map(files.points, units), LEAST_POINTS)
            assert (block.curves + left) * longest > points
        if len(block.units) > 1:
            assert all(unit.begins for unit in block.units[1:])
            assert all(unit.ends for unit in block.units)


@unhurried
@given(FILES, st.integers(1, 40_000))
def test_slices_begin_at_chunks_where_a_chunk_fits(files, points):
    for block in planned(files, BlockLimits(None, points)):
        [*_, last] = block.units
        if last.ends:
            continue
        held = files.held[last.file]
        room = max(1, points // max(held.points, LEAST_POINTS))
        stop = last.frames.stop
        if stop % held.together:
            # No chunk ends within the room: the slice is as long as the room.
            assert last.curves == room
            assert last.frames.start // held.together == stop // held.together
        else:
            assert stop + held.together - last.frames.start > room


@unhurried
@given(FILES, LIMITS)
def test_a_file_is_begun_with_its_first_curve_and_ended_with_its_last(files, limits):
    units = [unit for block in planned(files, limits) for unit in block.units]
    for number, held in enumerate(files.held):
        mine = [unit for unit in units if unit.file == number]
        curves = 1 if isinstance(held, str) else held.curves
        assert [unit.begins for unit in mine] == [True] + [False] * (len(mine) - 1)
        assert [unit.ends for unit in mine] == [False] * (len(mine) - 1) + [True]
        assert sum(unit.curves for unit in mine) == curves


@unhurried
@given(FILES, LIMITS)
def test_files_are_opened_once_and_in_order(files, limits):
    planned(files, limits)
    assert files.asked == list(range(len(files.held)))


@unhurried
@given(FILES, LIMITS)
def test_no_file_is_opened_before_the_block_before_it_is_taken(files, limits):
    with mock.patch.object(plan, "extent", files.extent):
        for block in files.planner(limits).blocks():
            assert block.units
            # One file more was looked at to know that it has no room.
            last = block.units[-1].file
            assert max(files.asked) <= last + 1


@unhurried
@given(FILES, LIMITS, st.integers(1, 300))
def test_a_limit_is_kept_and_nothing_behind_it_is_opened(files, limits, limit):
    blocks = planned(files, limits, limit=limit)
    rows = files.rows()[:limit]
    assert [row for block in blocks for row in rows_of(block, files)] == rows
    assert files.asked == list(range(rows[-1][0] + 1))


@unhurried
@given(FILES, LIMITS, st.integers(1, 300))
def test_blocks_before_the_limit_are_those_without_it(files, limits, limit):
    whole = planned(files, limits)
    some = planned(files, limits, limit=limit)
    assert some[:-1] == whole[: len(some) - 1]
    assert some[-1].start == whole[len(some) - 1].start


def done_of(blocks):
    return {block.number: (block.start, block.stop, block.curves) for block in blocks}


@unhurried
@given(FILES, LIMITS, st.data())
def test_blocks_that_are_done_are_left_out_and_the_others_are_the_same(files, limits, data):
    limit = data.draw(st.none() | st.integers(1, 300))
    whole = planned(files, limits, limit=limit)
    done = data.draw(st.sets(st.sampled_from(whole)))
    files.asked.clear()
    left = [block for block in whole if block not in done]
    assert planned(files, limits, done_of(done), limit) == left
    needed = {unit.file for block in left for unit in block.units}
    looked_at = {block.stop.file for block in left}
    assert set(files.asked) <= needed | looked_at
    if not left:
        assert files.asked == []


@unhurried
@given(FILES, LIMITS, st.data())
def test_a_block_that_is_done_can_be_had_as_it_was_planned(files, limits, data):
    limit = data.draw(st.none() | st.integers(1, 300))
    whole = planned(files, limits, limit=limit)
    with mock.patch.object(plan, "extent", files.extent):
        planner = files.planner(limits, done_of(whole), limit)
        for block in data.draw(st.permutations(whole)):
            assert planner.replay(block.number) == block


def test_a_block_whose_file_holds_fewer_curves_now_is_not_replayed():
    files = Files([Extent(10, 100), Extent(10, 100)])
    done = done_of(planned(files, BlockLimits(7)))
    files.held[0] = Extent(5, 100)
    with mock.patch.object(plan, "extent", files.extent):
        planner = files.planner(BlockLimits(7), done)
        for number in (0, 1):
            with pytest.raises(ReadError, match=f"files of block {number} hold other curves"):
                planner.replay(number)


@unhurried
@given(FILES, LIMITS)
def test_a_file_that_cannot_be_read_is_one_row_with_its_reason(files, limits):
    units = [unit for block in planned(files, limits) for unit in block.units]
    problems = {unit.file: unit.problem for unit in units if unit.problem}
    assert problems == {n: held for n, held in enumerate(files.held) if isinstance(held, str)}
    for unit in units:
        if unit.problem:
            assert (unit.curves, unit.frames, unit.begins, unit.ends) == (1, None, True, True)


@unhurried
@given(FILES, LIMITS)
def test_the_shares_of_the_blocks_add_up_to_the_bytes_of_the_files(files, limits):
    blocks = planned(files, limits)
    units = sum(len(block.units) for block in blocks)
    total = sum(file.size for file in files.listing)
    assert total - units <= sum(block.share for block in blocks) <= total
    assert all(block.share >= 0 for block in blocks)


def test_a_file_whose_size_nobody_knows_counts_nothing():
    files = Files(["cannot be opened", Extent(2, 10)])
    files.listing[0] = ListedFile("f0", "/nowhere/f0", -1, -1)
    [block] = planned(files, BlockLimits(5))
    assert block.share == files.listing[1].size


def test_small_curves_fill_a_block_as_if_they_had_256_points():
    files = Files([Extent(1000, 3)])
    counts = [block.curves for block in planned(files, BlockLimits(None, 100 * LEAST_POINTS))]
    assert counts == [100] * 10


def test_a_slice_that_could_end_at_several_chunks_ends_at_the_last():
    files = Files([Extent(100, 1000, together=8)])
    blocks = planned(files, BlockLimits(None, 30_000))
    assert [block.units[0].frames for block in blocks] == [
        range(0, 24),
        range(24, 48),
        range(48, 72),
        range(72, 100),
    ]


def test_a_curve_longer_than_a_block_is_a_block_of_its_own():
    files = Files([Extent(3, 10_000), Extent(1, 10), Extent(1, 20_000)])
    blocks = planned(files, BlockLimits(None, 5_000))
    assert [block.curves for block in blocks] == [1, 1, 1, 1, 1]


def test_no_files_are_no_blocks():
    assert planned(Files([]), BlockLimits(3)) == []
