"""Heat maps, without a database."""

from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.desk.pages.patterns import heat_map

rows = st.dictionaries(
    st.tuples(st.integers(1, 7), st.integers(0, 23)),
    st.integers(1, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    max_size=40,
).map(
    lambda found: [
        {"weekday": day, "hour": hour, "sessions": n, "moved": moved}
        for (day, hour), (n, moved) in sorted(found.items())
    ]
)


@given(rows)
def test_every_count_stands_once_and_a_larger_share_is_never_lighter(found):
    shown = heat_map(found, "moved")
    cells = [cell for _, cells in shown["days"] for cell in cells if cell is not None]
    assert sum(cell["count"] for cell in cells) == shown["total"] == sum(
        row["moved"] for row in found
    )  # fmt: skip
    assert sum(cell["sessions"] for cell in cells) == sum(row["sessions"] for row in found)
    assert len(shown["days"]) == 7
    by_share = sorted(cells, key=lambda cell: cell["count"] / cell["sessions"])
    shades = [cell["shade"] for cell in by_share]
    assert shades == sorted(shades)
    assert all((cell["shade"] > 0) == (cell["count"] > 0) for cell in cells)
    assert (shown["most"] is None) == (shown["total"] == 0)
