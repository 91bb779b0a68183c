"""`bin/bench write`: every way stores the same rows, and a wrong row is noticed."""

from __future__ import annotations

from argparse import Namespace

import pytest

from greeks_trio.postgres.embedded.binaries import find_programs
from tests.benchmarks.ticks import make_records
from tests.benchmarks.write import make_bars, make_table, make_ways
from tests.benchmarks.write.measure import Sizes, WrongRows, measure, prepare
from tests.benchmarks.write.others import InsertLoop
from tests.benchmarks.write.rows import Rows

ROWS = 100


@pytest.fixture
def rows(database, tmp_path):
    """The rows of a tiny run."""
    found = Rows.make(database, make_records(ROWS), 60, tmp_path)
    prepare(found)
    return found


@pytest.fixture
def options():
    """Every way that needs no environment of its own."""
    return Namespace(postgres=find_programs(18, None), without=["cryptofeed"])


def test_each_way_stores_the_same_rows(rows, options):
    ways, missing = make_ways(options)

    found = measure(rows, ways, Sizes(rounds=2, commits=4))

    assert not missing
    for each in found.values():
        assert len(each.rows_per_s) == len(each.client_us) == len(each.server_us) == 2
    assert sum(len(each.commits_s) == 4 for each in found.values()) == len(ways) - 1
    table = make_table(found, ["cryptofeed: no Python"])
    assert len(table.rows) == len(ways) + 1
    assert "cryptofeed cannot run here: no Python" in table.notes
    assert [bar.met is None for bar in make_bars(found)] == [False, False, False, True]


class OneTooFew(InsertLoop):
    """Leaves the last row out."""

    share = 1.0

    def store(self, rows, number):
        return super().store(rows, number - 1)


class OtherValues(InsertLoop):
    """Stores the same number of other rows."""

    share = 1.0

    def store(self, rows, number):
        return super().store(
            Rows.make(
                rows.config, make_records(ROWS, seed=2), 60, rows.prepared.parent
            ),
            number,
        )


@pytest.mark.parametrize("way", [OneTooFew(), OtherValues()])
def test_a_way_that_stores_other_rows_ends_the_run(rows, way):
    with pytest.raises(WrongRows, match=way.name):
        measure(rows, [way], Sizes(rounds=1, commits=1))
