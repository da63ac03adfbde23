"""Archives cost little beside their curves: small sizes of `benchmarks.archive`."""

import pytest

from benchmarks.archive import (
    in_process,
    make_stack,
    make_texts,
    of_archive,
    of_stack_in_memory,
    of_texts_in_memory,
)
from benchmarks.curves import seven_line_curves

TRIALS = 8
# With few blocks, and for a second or two, more than for an archive: see RESULTS.md. Texts take the
# time of their reading, however quickly they are computed.
STACK = 1.6
TEXTS = 5.0
GROWTH = 1.15


def best_ratio(archive, memory, limit):
    """Time of an archive over that of its curves in memory; a busy machine may spoil some."""
    ratios = []
    while len(ratios) < TRIALS and min(ratios, default=limit) >= limit:
        ratios.append(archive().seconds / memory().seconds)
    return min(ratios)


@pytest.mark.slow
@pytest.mark.alone
def test_a_stack_costs_little_beside_its_curves_in_memory(tmp_path):
    make_stack(tmp_path / "stack.h5", seven_line_curves(200), 5000)
    ratio = best_ratio(
        lambda: of_archive(tmp_path / "stack.h5"),
        lambda: of_stack_in_memory(tmp_path / "stack.h5"),
        STACK,
    )
    assert ratio < STACK


@pytest.mark.slow
@pytest.mark.alone
def test_text_files_cost_little_beside_their_curves_in_memory(tmp_path):
    make_texts(tmp_path / "texts", 2000)
    ratio = best_ratio(
        lambda: of_archive(tmp_path / "texts"),
        lambda: of_texts_in_memory(tmp_path / "texts"),
        TEXTS,
    )
    assert ratio < TEXTS


@pytest.mark.slow
def test_memory_does_not_grow_with_the_archive(tmp_path):
    growth = []
    # What the allocator keeps differs from run to run; what grows does so in every one.
    while len(growth) < 3 and min(growth, default=GROWTH) >= GROWTH:
        peaks = []
        for curves in (4000, 8000):
            make_stack(tmp_path / "stack.h5", seven_line_curves(200), curves)
            peaks.append(in_process("archive", tmp_path / "stack.h5").peak)
        growth.append(peaks[1] / peaks[0])
    assert min(growth) < GROWTH
