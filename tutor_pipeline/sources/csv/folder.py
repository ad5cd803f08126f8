"""Which files of a folder (or of an archive) are the files of the format.

A name counts in any case, with `.gz` behind it, and within an archive. Of two files for one name
neither is taken: only their owner knows which is right.

Belongs here: finding files. Does not belong here: opening and reading them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.sources.csv.dialects import Source
from tutor_pipeline.sources.csv.format import CsvFile, CsvFormat, csv_format
from tutor_pipeline.sources.csv.headers import folded
from tutor_pipeline.sources.csv.mapped_files import AS_IN_THE_FORMAT, MappedFiles

DOCUMENT = "docs/csv-format.md"


@dataclass(frozen=True, slots=True)
class Found:
    """The files of the format, in its order, and sentences about the others."""

    sources: tuple[tuple[CsvFile, Source], ...]
    notes: tuple[str, ...]


def find(folder: Path, mapped: MappedFiles | None = None) -> Found:
    """Returns what to read in a folder, or in an archive. `mapped` says what the files are called.

    Raises UsageError without a folder, and RefusedError when a required file is missing or two
    files have one name.
    """
    if not folder.is_dir() and not _is_archive(folder):
        raise UsageError(f"there is no folder {folder}; import takes the folder of a CSV export")
    layout = csv_format()
    notes: list[str] = []
    named: dict[str, list[Source]] = {}
    for name, source in _entries(folder, notes):
        named.setdefault(name, []).append(source)
    mapped = mapped or {}
    mapped_names = _named_by(mapped, named)
    known = {file.name for file in layout.files} - mapped_names.keys()
    taken = {name for names in mapped_names.values() for name in names}
    others = {name: each for name, each in named.items() if name not in known | taken}
    named = {name: each for name, each in named.items() if name in known - taken} | {
        file: [source for name in names for source in named[name]]
        for file, names in mapped_names.items()
    }
    _refuse(folder, layout, named, others, mapped)
    notes += [
        f"{source.name} is not read: {_why(name, layout)}"
        for name, sources in sorted(others.items())
        for source in sources
        if name.endswith(".csv")
    ]
    found = tuple((file, named[file.name][0]) for file in layout.files if named.get(file.name))
    return Found(found, tuple(notes))


def _named_by(mapped: MappedFiles, names: Iterable[str]) -> dict[str, list[str]]:
    """Returns the names that fit those that a mapping has for files of the format. One file may be
    read for several of them.
    """
    found = {}
    for file, entry in mapped.items():
        if entry.name is not None:
            pattern = entry.name.lower().removesuffix(".gz")
            found[file] = sorted(name for name in names if fnmatchcase(name, pattern))
    return found


def _entries(folder: Path, notes: list[str]) -> Iterator[tuple[str, Source]]:
    """Yields the files by the name that counts: in lower case, without `.gz`."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    for path in paths:
        if path.name.startswith(".") or not path.is_file():
            continue
        if not _is_archive(path):
            yield path.name.lower().removesuffix(".gz"), Source(path)
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                members = [info.filename for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError) as error:
            notes.append(f"{path.name} is not read: {error}")
            continue
        yield from _members(path, members)


def _members(path: Path, members: list[str]) -> Iterator[tuple[str, Source]]:
    """Yields the files of an archive. The only one may be called as the archive is."""
    names = {
        member: PurePosixPath(member).name.lower()
        for member in members
        # A Mac adds a hidden twin of every file.
        if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member).parts)
    }
    known = {file.name for file in csv_format().files}
    if len(names) == 1 and known.isdisjoint(names.values()):
        stem = path.name.lower().removesuffix(".zip").removesuffix(".csv")
        names = {member: f"{stem}.csv" for member, name in names.items() if name.endswith(".csv")}
    for member, name in names.items():
        yield name, Source(path, member)


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def _refuse(
    folder: Path,
    layout: CsvFormat,
    named: dict[str, list[Source]],
    others: dict[str, list[Source]],
    mapped: MappedFiles,
) -> None:
    """Raises RefusedError with everything that is wrong with the names."""
    faults = []
    for file in layout.files:
        sources = named.get(file.name, [])
        if len(sources) > 1:
            names = " and ".join(source.name for source in sources)
            faults.append(f"{folder} has {file.name} more than once: {names}; leave one of them")
        elif not sources and (wanted := mapped.get(file.name, AS_IN_THE_FORMAT).name):
            there = ", ".join(sorted(others)[:10]) or "no other file"
            faults.append(
                f"{folder} has no {wanted}, which the mapping has for {file.name}; there is {there}"
            )
        elif file.required and not sources:
            near = [source.name for each in _near(file, others) for source in others[each]]
            hint = f"; if it is {' or '.join(near)}, rename it to {file.name}" if near else ""
            faults.append(f"{folder} has no {file.name}{hint}")
    if faults:
        raise RefusedError(
            "\n".join(faults) + f"\nNothing was loaded. The format is described in {DOCUMENT}."
        )


def _near(file: CsvFile, others: dict[str, list[Source]]) -> list[str]:
    """Returns the names that may be meant for a file: sessions (1).csv, session-export.xlsx."""
    alike = get_close_matches(file.name, others, n=3, cutoff=0.7)
    stem = folded(file.stem)
    return sorted({*alike, *(name for name in others if stem in folded(name))})


def _why(name: str, layout: CsvFormat) -> str:
    return layout.never_read.get(name, "it is no file of this format")
