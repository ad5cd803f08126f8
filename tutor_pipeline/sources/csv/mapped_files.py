"""What a mapping says of the files of an export: their names, their columns, what texts mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tutor_pipeline.sources.csv.readings import Reading


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file of the format as an export has it.

    `name`: what the file is called, also as a pattern (`lessons-*.csv`); None: as in the format.
    `columns`: column of the format → column of the file; others are called as in the format.
    `readings`: column of the format → what its texts mean. `accepted`: column of the format →
    how its texts are written, for messages.
    """

    name: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)


MappedFiles = Mapping[str, MappedFile]
"""By the name of the file in the format."""

AS_IN_THE_FORMAT = MappedFile()
