"""Which files a profile is made of, and what they say together.

Belongs here: where profiles are found, and how one `extends` another.
Does not belong here: whether a rule makes sense (`catalogue`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.judgement.rules import nodes
from tutor_pipeline.judgement.rules.inputs import nearest
from tutor_pipeline.judgement.rules.nodes import Entry, NodeError

_FOLDER = Path(__file__).parent / "catalogue"
_EXTENDS = "extends"
_AUTO_RESOLVE = "auto_resolve"
_SHIPPED = ("adaptive", "conservative", "standard", "high_volume")
"""The default one first, then as they are likely to interest."""

# An id becomes a cell of tables and the name of a column, `open_alerts.<id>`: with 48 characters it
# has room in the 63 that PostgreSQL allows.
_RULE_ID = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Draft:
    """One rule as the files of a profile say it together, unchecked.

    `key` is where the last of them names it, `before` what the others say without that one. `hint`
    says, of a rule that only an extending file has, that the profile it extends does not know it:
    its id may be misspelt.
    """

    key: yaml.Node
    entries: Mapping[str, Entry]
    hint: str = ""
    before: Draft | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What the files of a profile say together, unchecked: section -> rule id -> draft."""

    sections: Mapping[str, Mapping[str, Draft]] = field(default_factory=dict)
    auto_resolve: yaml.Node | None = None


def shipped() -> dict[str, Path]:
    """The profiles that ship, by name."""
    return {name: _FOLDER / f"{name}.yml" for name in _SHIPPED}


def name_of(path: Path) -> str:
    """What a profile is called: a file of one's own is not taken for a shipped one."""
    is_own = path.stem in _SHIPPED and path.resolve() != shipped()[path.stem].resolve()
    return path.name if is_own else path.stem


def find(profile: str | Path) -> Path:
    """The file of a profile: a shipped one by name, any other by path. Raises UsageError."""
    known = shipped()
    path = known.get(str(profile), Path(profile))
    if not path.is_file():
        raise UsageError(
            f"there is no rule profile {profile}{nearest(str(profile), known)}\n"
            f"Name one that ships ({', '.join(known)}) or the path of your own YAML file."
        )
    return path


def read(
    path: Path,
    sections: Collection[str],
    note: Callable[[NodeError], None],
    extending: tuple[Path, ...] = (),
) -> Profile:
    """Read a profile and, first, the one it extends.

    A file changes only what it names: a rule's key replaces that key of the same rule, as a
    whole, and null takes it away. What is wrong with one rule is noted, and the others go on.
    Raises NodeError for what is wrong with a file as a whole, TutorPipelineError when one is not
    YAML. `extending` are the files that led here.
    """
    entries = nodes.mapping(nodes.compose(path))
    nodes.check_names(entries, (_EXTENDS, _AUTO_RESOLVE, *sections))
    parent, parent_name = Profile(), None
    if _EXTENDS in entries:
        node = entries[_EXTENDS].value
        chain = (*extending, path)
        parent_path = _parent(node, chain)
        parent, parent_name = read(parent_path, sections, note, chain), parent_path.stem
    merged = {
        section: _merge(
            parent.sections.get(section, {}),
            entries[section].value if section in entries else None,
            parent_name,
            note,
        )
        for section in sections
    }
    own = entries.get(_AUTO_RESOLVE)
    return Profile(merged, own.value if own else parent.auto_resolve)


def _parent(node: yaml.Node, chain: tuple[Path, ...]) -> Path:
    """The file that `extends` names: a shipped profile, or a path seen from the extending file."""
    name: str = nodes.scalar(node, (str,), "the name or path of a profile")
    known = shipped()
    path = known.get(name, chain[-1].parent / name)
    if not path.is_file():
        raise NodeError(node, f"there is no profile {name} to extend{nearest(name, known)}")
    if path.resolve() in (each.resolve() for each in chain):
        way = " → ".join(each.name for each in (*chain, path))
        raise NodeError(node, f"a profile can't extend itself: {way}")
    return path


def _merge(
    parent: Mapping[str, Draft],
    section: yaml.Node | None,
    parent_name: str | None,
    note: Callable[[NodeError], None],
) -> dict[str, Draft]:
    merged = dict(parent)
    if section is None:
        return merged
    known: set[str] = set()
    for rule_id, (key, body) in nodes.pairs(section):
        try:
            if rule_id in known:
                raise NodeError(key, f"rule {rule_id} is there twice")
            known.add(rule_id)
            if not _RULE_ID.fullmatch(rule_id):
                raise NodeError(
                    key,
                    f"{rule_id!r} is no id of a rule: a-z, 0-9 and _, a letter first, at most 48",
                )
            entries = nodes.mapping(body)
        except NodeError as error:
            note(error)
            continue
        if rule_id in parent:
            before = parent[rule_id]
            together = {**before.entries, **entries}
            for name, entry in entries.items():
                if name in before.entries and nodes.is_null(entry.value):
                    del together[name]
            merged[rule_id] = Draft(key, together, before.hint, before)
        else:
            hint = ""
            if parent_name is not None:
                hint = f"; {parent_name} has no {rule_id}{nearest(rule_id, parent)} to change"
            merged[rule_id] = Draft(key, entries, hint)
    return merged
