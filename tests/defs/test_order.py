"""The order of a refresh is written once: the assets depend as it says."""

import pytest

from tutor_pipeline.definitions import defs
from tutor_pipeline.steps.order import TABLES, Step


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_an_asset_rests_on_what_the_order_says(graph, table):
    (node,) = (each for each in graph.asset_nodes if each.key.to_user_string() == table)
    assert {key.to_user_string() for key in node.parent_keys} == set(TABLES[table].rests_on)


def test_a_step_rests_on_steps_before_it_only():
    position = {step: number for number, step in enumerate(Step)}
    for name, table in TABLES.items():
        for other in table.rests_on:
            made_by = TABLES[other].step if other in TABLES else Step.BUILD
            # What is learned comes from weeks before: it is no part of a refresh.
            assert other == "ops/model_versions" or position[made_by] <= position[table.step], (
                name,
                other,
            )


def test_the_order_of_the_tables_is_one_in_which_they_can_be_made():
    made = set()
    for name, table in TABLES.items():
        assert {other for other in table.rests_on if other in TABLES} <= made, name
        made.add(name)
