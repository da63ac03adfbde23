"""Other tools open the tables of a run as they are, as docs/archives.md says."""

import duckdb
import numpy as np
import pandas
import polars
import pytest

from gpusaxs.archive.opened import open_run

QUESTION = "select phase, count(*) as curves from '{}' where phase is not null group by phase"


@pytest.fixture(scope="module")
def known(run):
    return open_run(run)


def test_pandas_reads_the_tables(run, known):
    for name in ("samples", "peaks", "phases"):
        frame = pandas.read_parquet(run / name)
        table = getattr(known, name)
        assert list(frame.columns) == table.column_names
        assert frame["id"].tolist() == table["id"].to_pylist()
    q = pandas.read_parquet(run / "peaks")["q"]
    np.testing.assert_array_equal(q, known.peaks["q"].to_numpy())


def test_polars_reads_the_tables(run, known):
    for name in ("samples", "peaks", "phases"):
        frame = polars.read_parquet(run / name)
        table = getattr(known, name)
        assert frame.columns == table.column_names
        assert frame["id"].to_list() == table["id"].to_pylist()
    lattice = polars.read_parquet(run / "samples")["lattice"].to_list()
    assert lattice == known.samples["lattice"].to_pylist()


def test_duckdb_counts_curves_by_phase(run, known):
    found = dict(duckdb.sql(QUESTION.format(f"{run}/samples/*.parquet")).fetchall())
    phases = [name for name in known.samples["phase"].to_pylist() if name is not None]
    assert found == {name: phases.count(name) for name in set(phases)}
    assert sum(found.values()) > 0
