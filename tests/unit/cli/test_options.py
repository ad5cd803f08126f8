"""Days and moments as people write them."""

from datetime import UTC, date, datetime

import pytest

from tutor_pipeline.cli.options import actor, day, moment
from tutor_pipeline.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-18", "2026-03-17T23:00"),
        ("2026-07-18", "2026-07-17T22:00"),
        ("2026-03-18T09:00", "2026-03-18T08:00"),
        ("2026-03-18T09:00+00:00", "2026-03-18T09:00"),
        ("2026-03-18T09:00-05:00", "2026-03-18T14:00"),
    ],
)
def test_a_moment_without_a_zone_is_where_people_are(text, expected):
    found = moment(text, "--until", "Europe/Berlin")
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert found.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "soon", "2026-02-30", "0001-01-01"])
def test_what_is_no_moment_is_named_with_its_option(text):
    with pytest.raises(UsageError, match=f"--until {text}: write a day as"):
        moment(text, "--until", "Asia/Tokyo")


def test_a_day_is_a_day_alone():
    assert day("2026-03-18", "--since") == date(2026, 3, 18)
    with pytest.raises(UsageError, match="--since 2026-03-18T09:00: write a day"):
        day("2026-03-18T09:00", "--since")


def test_a_blank_name_is_none(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    assert [actor(None), actor("  "), actor(" bo ")] == ["ana", "ana", "bo"]
