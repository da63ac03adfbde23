"""A run that is what its inputs give passes; whatever is changed in it or in them is named."""

import hashlib
import json
import math
import os
import shutil

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive.directory import read_table
from gpusaxs.archive.reading import BlockReader
from gpusaxs.archive.run import process_archive
from gpusaxs.archive.verify import verify_run
from gpusaxs.errors import BackendError, RunDirectoryError
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.simulate import simulate

OPTIONS = {"backend": "numpy", "workers": 1, "q_unit": "1/nm"}
CURVES, BLOCKS = 38, 8
UNREADABLE = ["files/a.h5#4", "files/a.h5#5", "files/empty.dat", "files/letter.txt"]
FAILED = [*UNREADABLE, "files/few.dat", "files/flat.dat"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Curves in stacks and in text files; some hold none, or one that is no good."""
    folder = tmp_path_factory.mktemp("files") / "files"
    drawn = simulate(28, seed=3, points=250, counts=20000.0, hard=True, negatives=0.2)
    rows = [
        np.column_stack([drawn.q, *both]) for both in zip(drawn.intensity, drawn.sigma, strict=True)
    ]
    simulate(6, seed=4, points=250, counts=20000.0).write(folder)
    for name in ("truth.csv", "truth.parquet"):
        (folder / name).unlink()
    damage_last_chunk((folder / "curves.h5").rename(folder / "a.h5"))
    np.savez(folder / "b.npz", q=drawn.q, intensity=drawn.intensity[:12], sigma=drawn.sigma[:12])
    (folder / "empty.dat").touch()
    np.savetxt(folder / "few.dat", rows[12][:9])
    np.savetxt(folder / "flat.dat", rows[13] * [1.0, 0.0, 1.0])
    (folder / "letter.txt").write_text("Dear diary,\nno numbers today.\n", "utf-8")
    for number, row in enumerate(rows[12:]):
        np.savetxt(folder / f"text{number:02d}.dat", row)
    return folder


def damage_last_chunk(path):
    """Let the last two frames of a stack be damaged, and the others not."""
    with h5py.File(path, "r+") as file:
        group = file["sasentry/sasdata"]
        values, attributes = group["I"][:], dict(group["I"].attrs)
        del group["I"]
        rows = group.create_dataset("I", data=values, chunks=(2, 250), fletcher32=True)
        rows.attrs.update(attributes)
        place = rows.id.get_chunk_info(2).byte_offset
    with open(path, "r+b") as file:
        file.seek(place + 80)
        file.write(b"damaged!")


def process(files, run, **options):
    return process_archive(
        [files], run, **{**OPTIONS, "block_size": 5, "save_curves": True} | options
    )


@pytest.fixture(scope="module")
def kept(files, tmp_path_factory):
    """A run of eight blocks with its curves, which nobody changes."""
    place = tmp_path_factory.mktemp("runs") / "run"
    process(files, place)
    return place


@pytest.fixture
def run(kept, tmp_path):
    """A copy of the run that may be changed."""
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def mine(files, tmp_path):
    """A copy of the files that may be changed, and their run."""
    shutil.copytree(files, tmp_path / "files")
    process(tmp_path / "files", tmp_path / "own")
    return tmp_path / "files", tmp_path / "own"


@pytest.fixture
def stopped(files, tmp_path):
    """A run that was interrupted after three blocks, within a stack."""

    def interrupt(progress):
        if progress.blocks == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process(files, tmp_path / "stopped", executor="serial", progress=interrupt)
    return tmp_path / "stopped"


def verified(run, **options):
    return verify_run(run, workers=1, **options)


def problems(found):
    """What a verification has found, but for differences."""
    return found.damaged, found.changed, found.failures, found.remarks


NOTHING = ([], [], [], [])


def part(run, name, block):
    return run / name / f"part-{block:06d}.parquet"


def describe(run, change):
    """Change run.json."""
    description = json.loads((run / "run.json").read_text("utf-8"))
    change(description)
    (run / "run.json").write_text(json.dumps(description), "utf-8")


def rewrite(run, name, block, rows):
    """Put other rows in a part, and their hash in run.json: nobody could tell by the hashes."""
    path = part(run, name, block)
    pq.write_table(rows, path)

    def change(description):
        assert description["blocks"][block]["parts"][name] != digest
        description["blocks"][block]["parts"][name] = digest

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    describe(run, change)


def change_value(run, name, column, change, blocks=range(BLOCKS)):
    """Change the first value of a column that there is; return the curve, the block and both."""
    for block in blocks:
        rows = pq.read_table(part(run, name, block))
        values = rows[column].to_pylist()
        for row, before in enumerate(values):
            if before is not None and repr(before) != "nan":
                values[row] = change(before)
                place = rows.schema.get_field_index(column)
                field = rows.schema.field(place)
                others = pa.array(values, field.type)
                rewrite(run, name, block, rows.set_column(place, field, others))
                return rows["id"][row].as_py(), block, before, values[row]
    raise AssertionError(f"there is no {name}.{column}")


def test_the_run_here_has_what_can_go_wrong(kept):
    samples = read_table(kept, "samples").to_pylist()
    assert [row["id"] for row in samples if row["status"] == "unreadable"] == UNREADABLE
    assert sorted(row["id"] for row in samples if row["verdict"] == "failed") == sorted(FAILED)
    assert {row["verdict"] for row in samples} >= {"identified", "unindexed"}


@pytest.mark.parametrize("executor", ["serial", "workpool"])
def test_a_run_that_nobody_touched_passes(kept, executor):
    told = []
    found = verified(kept, executor=executor, progress=lambda *now: told.append(now))
    assert problems(found) == NOTHING
    assert not found.comparison.columns
    assert (found.blocks, found.curves) == (BLOCKS, CURVES)
    assert (found.blocks_compared, found.curves_compared) == (BLOCKS, CURVES)
    assert found.all_well
    assert told == [(number, BLOCKS) for number in range(BLOCKS + 1)]


@pytest.mark.parametrize(
    "options",
    [
        {"block_size": None},
        {"block_size": 1},
        {"limit": 1},
        {"limit": 13, "block_size": 4},
        {"limit": 18, "block_size": None},
        {"limit": 1000},
        {"save_curves": False},
        {"q_unit": None},
        {"workers": 2, "executor": "serial"},
    ],
    ids=str,
)
def test_whatever_a_run_was_told_it_passes(files, tmp_path, options):
    process(files, tmp_path / "run", **options)
    found = verified(tmp_path / "run")
    assert problems(found) == NOTHING
    assert not found.comparison.columns
    curves = min(options.get("limit", CURVES), CURVES)
    assert found.curves_compared == found.curves == curves
    assert found.all_well


@pytest.mark.parametrize("executor", ["serial", "workpool"])
@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("samples", "lattice"),
        ("samples", "margin"),
        ("samples", "q_max"),
        ("peaks", "q"),
        ("peaks", "height_sigma"),
        ("phases", "score"),
    ],
)
def test_a_number_that_was_changed_with_its_hash_is_found_by_computing(run, name, column, executor):
    curve, _, before, after = change_value(run, name, column, lambda value: value * (1 + 1e-4))
    found = verified(run, executor=executor)
    assert problems(found) == NOTHING
    assert list(found.comparison.columns) == [(name, column)]
    [difference] = found.comparison.differences
    assert (difference.id, difference.stored, difference.again) == (curve, after, before)
    assert difference.size == pytest.approx(1e-4, rel=1e-3)
    assert found.blocks_compared == BLOCKS
    assert not found.all_well


@pytest.mark.parametrize(
    ("name", "column", "change"),
    [
        ("samples", "verdict", lambda _: "ambiguous"),
        ("samples", "phase", lambda _: "nothing"),
        ("samples", "reason", lambda word: word + "!"),
        ("samples", "n_peaks", lambda number: number + 1),
        ("samples", "source", lambda _: "elsewhere"),
        ("samples", "lattice", lambda _: None),
        ("peaks", "bragg", lambda truth: not truth),
        ("peaks", "index", lambda number: number - 1),
        ("phases", "matched", lambda numbers: numbers[1:]),
        ("curves", "first", lambda number: number + 1),
        ("curves", "intensity", lambda row: row[:-1]),
        ("curves", "background", lambda row: [math.nan, *row[1:]]),
    ],
)
def test_words_counts_and_rows_that_were_changed_are_found(run, name, column, change):
    curve, *_ = change_value(run, name, column, change)
    found = verified(run, tolerance=0.5)
    assert problems(found) == NOTHING
    [difference] = found.comparison.differences
    assert (difference.id, difference.table, difference.column) == (curve, name, column)
    assert difference.size == math.inf
    assert not found.all_well


def test_a_point_of_a_kept_curve_that_was_changed_is_found_with_its_size(run):
    curve, *_ = change_value(
        run, "curves", "sigma", lambda row: [*row[:100], row[100] * 1.01, *row[101:]]
    )
    found = verified(run)
    [difference] = found.comparison.differences
    assert (difference.id, difference.column) == (curve, "sigma")
    assert difference.size == pytest.approx(0.01 / 1.01)


def test_a_difference_within_the_tolerance_is_counted_and_all_is_well(run):
    curve, *_ = change_value(run, "peaks", "q", lambda value: value * (1 + 1e-8))
    within, beyond = verified(run), verified(run, tolerance=1e-9)
    summary = within.comparison.columns["peaks", "q"]
    assert (summary.differ, summary.beyond, summary.largest.id) == (1, 0, curve)
    assert within.all_well
    assert beyond.comparison.beyond == 1
    assert not beyond.all_well


@pytest.mark.parametrize("name", ["samples", "peaks", "phases", "curves"])
def test_rows_that_were_left_out_or_doubled_are_found(run, name):
    rows = pq.read_table(part(run, name, 1))
    doubled = pq.read_table(part(run, name, 2))
    rewrite(run, name, 1, rows.slice(1))
    rewrite(run, name, 2, pa.concat_tables([doubled, doubled.slice(0, 1)]))
    found = verified(run)
    assert problems(found) == NOTHING
    gone, more = found.comparison.differences
    assert (gone.id, gone.column, gone.stored) == (
        rows["id"][0].as_py(),
        "number of rows",
        gone.again - 1,
    )
    assert (more.id, more.column, more.stored) == (
        doubled["id"][0].as_py(),
        "number of rows",
        more.again + 1,
    )


def test_rows_of_another_order_are_the_same_rows(run):
    rows = pq.read_table(part(run, "samples", 1))
    rewrite(run, "samples", 1, rows.take([3, 1, 0, 2, 4]))
    assert verified(run).all_well


DAMAGE = {
    "changed": lambda path: path.write_bytes(
        path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:]
    ),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", ["samples", "peaks", "phases", "curves"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_part_is_named_and_the_other_blocks_compared(run, name, kind):
    DAMAGE[kind](part(run, name, 2))
    found = verified(run)
    [damaged] = found.damaged
    assert damaged.startswith(f"{part(run, name, 2)}: ")
    assert ("No such file" if kind == "gone" else "is not what was written") in damaged
    assert (found.blocks_compared, found.curves_compared) == (BLOCKS - 1, CURVES - 5)
    assert not found.comparison.columns
    assert not found.all_well


def test_every_damaged_part_is_named(run):
    damaged = [part(run, "curves", 0), part(run, "peaks", 3), part(run, "samples", 3)]
    for path in damaged:
        DAMAGE["changed"](path)
    found = verified(run)
    assert sorted(line.partition(":")[0] for line in found.damaged) == sorted(map(str, damaged))
    assert found.blocks_compared == BLOCKS - 2


@pytest.mark.parametrize("kind", ["cut off", "empty", "gone"])
def test_a_list_of_inputs_that_cannot_be_read_is_damage_beside_that_of_the_parts(run, kind):
    DAMAGE[kind](run / "inputs.parquet")
    DAMAGE["changed"](part(run, "peaks", 3))
    found = verified(run)
    words = " ".join(found.damaged)
    assert f"{run / 'inputs.parquet'}: is not what was written" in words
    assert str(part(run, "peaks", 3)) in words
    assert found.blocks_compared == 0
    assert not found.all_well


def test_a_list_of_inputs_that_is_another_one_is_named_though_it_can_be_read(run):
    inputs = pq.read_table(run / "inputs.parquet")
    pq.write_table(inputs, run / "inputs.parquet", compression="gzip")
    found = verified(run)
    assert found.damaged == [f"{run / 'inputs.parquet'}: is not what was written"]
    assert found.blocks_compared == BLOCKS
    assert not found.all_well


def test_a_list_of_inputs_without_the_last_of_them_is_no_traceback(run):
    inputs = pq.read_table(run / "inputs.parquet")
    pq.write_table(inputs.slice(0, len(inputs) - 1), run / "inputs.parquet")
    found = verified(run)
    assert "blocks of more files" in found.damaged[1]
    assert not found.all_well


def test_a_list_of_inputs_of_a_stopped_run_that_cannot_be_read_is_damage(stopped):
    DAMAGE["cut off"](stopped / "inputs.parquet")
    found = verified(stopped)
    assert "inputs" in found.damaged[0]
    assert not found.all_well


@pytest.mark.parametrize(("block", "words"), [(0, "block 1"), (3, "block 4"), (-1, "last file")])
def test_a_block_that_is_missing_from_the_description_is_found(run, block, words):
    describe(run, lambda description: description["blocks"].pop(block))
    [damaged] = verified(run).damaged
    assert damaged.startswith(f"{run / 'run.json'}: ")
    assert words in damaged


def test_blocks_behind_a_limit_are_not_missing_and_those_before_it_are(files, tmp_path):
    process(files, tmp_path / "run", limit=12)
    assert verified(tmp_path / "run").all_well
    describe(tmp_path / "run", lambda description: description["blocks"].pop())
    assert "last block" in verified(tmp_path / "run").damaged[0]


def test_an_input_that_was_changed_is_named_and_the_blocks_without_it_compared(mine):
    folder, run = mine
    path = folder / "text09.dat"
    path.write_text(path.read_text("utf-8").replace("1", "2", 1), "utf-8")
    found = verified(run)
    assert found.changed == [f"{path}: is not what it was"]
    assert (found.blocks_compared, found.curves_compared) == (BLOCKS - 1, CURVES - 5)
    assert not found.comparison.columns
    assert not found.all_well


def test_a_stack_that_was_changed_takes_all_its_blocks_along(mine):
    folder, run = mine
    (folder / "b.npz").write_bytes((folder / "a.h5").read_bytes())
    found = verified(run)
    assert found.changed == [f"{folder / 'b.npz'}: is not what it was"]
    assert found.blocks_compared == BLOCKS - 3


def test_inputs_that_are_gone_or_can_be_read_now_are_named(mine):
    folder, run = mine
    (folder / "text00.dat").unlink()
    (folder / "empty.dat").write_text("1 2 3\n" * 30, "utf-8")
    found = verified(run)
    names = [f"{folder / name}: is not what it was" for name in ("empty.dat", "text00.dat")]
    assert found.changed == names
    assert not found.all_well


def test_an_input_that_was_only_touched_is_what_it_was(mine):
    folder, run = mine
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    found = verified(run)
    assert problems(found) == NOTHING
    assert found.blocks_compared == BLOCKS
    assert found.all_well


def test_an_input_behind_the_limit_may_change(mine, tmp_path):
    folder, _ = mine
    process(folder, tmp_path / "few", limit=12)
    (folder / "text00.dat").unlink()
    assert verified(tmp_path / "few").all_well


def test_all_inputs_may_be_gone(mine):
    folder, run = mine
    shutil.rmtree(folder)
    found = verified(run)
    assert len(found.changed) == 22
    assert found.blocks_compared == 0
    assert not found.all_well


def test_an_input_that_changed_while_the_run_was_at_work_is_named(files, tmp_path):
    shutil.copytree(files, tmp_path / "files")
    path = tmp_path / "files" / "text15.dat"

    def change(progress):
        if progress.blocks == 2:
            os.utime(path, ns=(1, 1))

    process(path.parent, tmp_path / "run", executor="serial", progress=change)
    found = verified(tmp_path / "run")
    assert found.changed == [f"{path}: is not what it was"]


def test_a_run_that_was_stopped_is_verified_as_far_as_it_came(stopped):
    found = verified(stopped)
    assert problems(found) == NOTHING
    assert (found.blocks_compared, found.curves_compared) == (3, 15)
    assert (found.blocks, found.curves) == (3, 15)
    assert found.all_well
    part(stopped, "peaks", 2).unlink()
    assert [line.partition(":")[0] for line in verified(stopped).damaged] == [
        str(part(stopped, "peaks", 2))
    ]


def test_a_run_that_was_stopped_before_its_first_block_has_nothing_to_verify(files, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process(files, tmp_path / "run", executor="serial", progress=interrupt)
    found = verified(tmp_path / "run")
    assert problems(found) == NOTHING
    assert found.blocks == found.blocks_compared == 0


class Stumble(Interceptor):
    """Lets some curves fail where a stage begins."""

    def __init__(self, stage, names):
        self.stage, self.names = stage, names

    def around(self, launch, proceed):
        """Fail the chosen ones and run the rest."""
        if launch.stage.name == self.stage:
            ids = launch.batch.ids
            bad = np.array([ids[row] in self.names for row in launch.rows])
            if bad.any():
                launch.batch.fail(launch.rows[bad], self.stage, ValueError("no reason"))
            return proceed(launch.rows[~bad])
        return proceed(launch.rows)


def test_a_curve_that_failed_by_chance_is_found(files, tmp_path):
    name = "files/text03.dat"
    process(files, tmp_path / "run", interceptors=[Stumble("phase", [name])])
    found = verified(tmp_path / "run")
    assert problems(found) == NOTHING
    assert {one.id for one in found.comparison.differences} == {name}
    assert {one.column for one in found.comparison.differences} >= {
        "status", "verdict", "reason", "n_peaks", "number of rows",
    }  # fmt: skip
    [status] = [one for one in found.comparison.differences if one.column == "status"]
    assert "stage_failed" in status.stored


@pytest.mark.parametrize("executor", ["serial", "workpool"])
def test_a_block_that_cannot_be_computed_again_is_a_failure_and_the_others_are_compared(
    run, monkeypatch, executor
):
    read = BlockReader.__call__

    def stumble(self, block):
        if block.number == 2:
            raise MemoryError("too large")
        return read(self, block)

    monkeypatch.setattr(BlockReader, "__call__", stumble)
    found = verified(run, executor=executor)
    assert found.failures == ["block 2, reading: too large"]
    assert found.blocks_compared == BLOCKS - 1
    assert not found.all_well


def test_failures_name_the_block_and_not_its_place_in_the_sample(run, monkeypatch):
    DAMAGE["gone"](part(run, "samples", 0))

    def stumble(self, block):
        raise MemoryError("too large")

    monkeypatch.setattr(BlockReader, "__call__", stumble)
    found = verified(run, executor="serial")
    assert [line.partition(",")[0] for line in found.failures] == [
        f"block {number}" for number in range(1, BLOCKS)
    ]


def test_other_versions_and_other_code_are_remarks_and_no_faults(run):
    def change(description):
        description["versions"] |= {"numpy": "1.0", "abacus": "2"}
        description["stages"]["phase"] = "other"
        description["stages"]["noise"] = "other"

    describe(run, change)
    found = verified(run)
    assert sorted(found.remarks) == [
        "abacus was 2, is None",
        f"numpy was 1.0, is {np.__version__}",
        "the code, or a file that is read, is another one for: noise, phase",
    ]
    assert found.all_well


@pytest.fixture(scope="module")
def marked(files, tmp_path_factory):
    """A run of one curve a block, in all of which the last kept q was changed."""
    place = tmp_path_factory.mktemp("runs") / "marked"
    process(files, place, block_size=1, save_curves=False)
    whole = read_table(place, "samples")
    for block, name in enumerate(whole["id"].to_pylist()):
        if name not in FAILED:
            change_value(place, "samples", "q_max", lambda value: 2.0 * value, [block])
    return place


def marked_curves(run, share):
    """Which curves were computed again, of those that have not failed."""
    found = verified(run, sample=share)
    return found, {one.id for one in found.comparison.differences}


@pytest.mark.parametrize(
    ("share", "blocks"), [(1e-9, 1), (0.01, 1), (0.05, 2), (0.3, 11), (0.5, 19), (1.0, 38)]
)
def test_a_sample_is_a_share_of_the_blocks_at_least_one_and_the_same_each_time(
    marked, share, blocks
):
    found, curves = marked_curves(marked, share)
    assert (found.blocks, found.blocks_compared) == (CURVES, blocks)
    assert found.curves_compared == blocks
    assert blocks - len(FAILED) <= len(curves) <= blocks
    assert marked_curves(marked, share)[1] == curves


def test_a_sample_is_drawn_from_all_over_the_run(marked):
    _, curves = marked_curves(marked, 0.5)
    order = read_table(marked, "samples")["id"].to_pylist()
    places = [order.index(name) for name in curves]
    assert min(places) < CURVES / 4
    assert max(places) > CURVES * 3 / 4


@given(share=st.floats(allow_nan=True).filter(lambda share: not 0.0 < share <= 1.0))
@settings(max_examples=30)
def test_what_is_no_share_is_refused(kept, share):
    with pytest.raises(ValueError, match="Expected a share of the blocks"):
        verify_run(kept, sample=share)


def test_damage_outside_the_sample_is_found_all_the_same(run):
    for block in range(BLOCKS):
        DAMAGE["changed"](part(run, "curves", block))
    found = verified(run, sample=0.01)
    assert len(found.damaged) == BLOCKS


def test_only_the_inputs_of_the_sample_have_to_be_there(mine):
    folder, run = mine
    found = verified(run, sample=0.01)
    assert found.blocks_compared == 1
    for path in folder.iterdir():
        path.unlink()
    assert 0 < len(verified(run, sample=0.01).changed) <= 5


def test_another_backend_is_used_where_it_is_named(run):
    with pytest.raises(BackendError, match="abacus"):
        verified(run, backend="abacus")
    describe(run, lambda description: description.update(backend="abacus"))
    with pytest.raises(BackendError, match="abacus"):
        verified(run)
    assert verified(run, backend="numpy").all_well


def test_where_there_is_no_run_there_is_nothing_to_verify(tmp_path, run):
    with pytest.raises(RunDirectoryError, match="Expected a run directory"):
        verify_run(tmp_path)
    (run / "run.json").write_text("{", "utf-8")
    with pytest.raises(RunDirectoryError, match="Expected a run directory"):
        verify_run(run)


def test_verifying_writes_nothing(kept):
    def contents():
        return {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}

    before = contents()
    assert verified(kept).all_well
    assert contents() == before
