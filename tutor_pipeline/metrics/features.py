"""Prints the page of all features, docs/features.md, from the YAML beside the models.

    python -m tutor_pipeline.metrics.features > docs/features.md

Belongs here: the text of the page. Does not belong here: the definition of a feature.
"""

from __future__ import annotations

import sys
from itertools import groupby

from tutor_pipeline.core import markdown
from tutor_pipeline.metrics.catalogue import Column, metric_columns

MODEL = "tutor_features"


def features() -> dict[str, Column]:
    """Return {feature: Column} in the order of the table. Each has a unit and a group."""
    return {name: column for name, column in metric_columns()[MODEL].items() if column.group}


def page() -> str:
    """Return the page in Markdown, with a table per group."""
    parts = [_INTRODUCTION.format(count=len(features()))]
    for group, members in groupby(features().items(), key=lambda item: item[1].group):
        rows = [
            (f"`{name}`", column.unit, column.description.replace("|", "\\|"))
            for name, column in members
        ]
        table = markdown.table(("feature", "unit", "definition"), rows)
        parts.append(f"## {str(group).capitalize()} ({len(rows)})\n\n{table}")
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """\
<!-- Written by: python -m tutor_pipeline.metrics.features > docs/features.md -->

# Features

`marts.tutor_features` has a row per active tutor with {count} features. Scores use them. They are
defined here and computed in `dbt_project/models/marts/tutor_features.sql`. A name in brackets is
that of the metric of the [wide row](metrics.md) from which the feature is taken.

- **NULL is not 0.** A feature is NULL if the platform has no table or column for it, or if nothing
  was observed. Counts of certificates, declared subjects and disputes, and earnings, are 0 for a
  tutor who has none, once the platform has recorded one for any tutor.
- **As known then.** A bill, a report of hours, a rating (for features by subject) and a certificate
  count from the moment at which they were known; without that moment they always count. Refunds and
  disputes have no moment of their own: they count with their bill. Profiles and declared subjects
  are used as they are now.
- Windows are those of the [metrics](metrics.md#windows). "Full weeks" are weeks of the platform's
  availability reports that ended before the day of as_of.
- The median behind `pricing_competitiveness_score`, and the knowledge of what the platform records,
  are updated for a tutor with the tutor's next refresh."""


if __name__ == "__main__":
    sys.stdout.write(page())
