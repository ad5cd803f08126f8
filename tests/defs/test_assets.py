"""What assets of ours show in the UI."""

import math

import dagster as dg

from tutor_pipeline.defs.common.assets import table


def test_rows_are_a_table_of_metadata():
    shown = table([{"tutor": "T1", "score": 0.5}, {"tutor": None, "score": math.inf}])
    assert isinstance(shown, dg.TableMetadataValue)
    assert [record.data for record in shown.records] == [
        {"tutor": "T1", "score": 0.5},
        {"tutor": "", "score": "inf"},
    ]


def test_after_the_limit_one_row_says_how_many_more_there_are():
    shown = table(({"tutor": f"T{number}", "score": number} for number in range(7)), limit=3)
    assert [record.data["tutor"] for record in shown.records] == ["T0", "T1", "T2", "… 4 more"]


def test_no_row_is_a_text():
    assert table([], none="Nothing was sent.").value == "Nothing was sent."
