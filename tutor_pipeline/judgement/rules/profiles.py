"""The files of a profile, and what they say together.

Belongs here: where profiles are found, and how one `extends` another.
Does not belong here: whether a rule makes sense (`rule_schema`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import PlainValidator

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.judgement.rules import yaml_nodes
from tutor_pipeline.judgement.rules.inputs import nearest
from tutor_pipeline.judgement.rules.yaml_nodes import Entry, Flag, MappingModel, NodeError

_FOLDER = Path(__file__).parent / "catalogue"
_SHIPPED = ("adaptive", "conservative", "standard", "high_volume")
"""The default one first, then in the order of likely interest."""

# A rule's id becomes a table cell and a column name, `open_alerts.<id>`. With 48 characters it fits
# into the 63 that PostgreSQL allows.
_RULE_ID = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Draft:
    """One rule as the files of a profile define it together, unchecked.

    `key` is where the last of them names it; `before` is the draft without that file. `hint` is
    set if only the extending file has the rule: its id may be misspelt.
    """

    key: yaml.Node
    entries: Mapping[str, Entry]
    hint: str = ""
    before: Draft | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What the files of a profile say together: kind -> rule id -> unchecked draft."""

    drafts: Mapping[Kind, Mapping[str, Draft]]
    auto_resolve: bool | None = None


_Rules = Annotated[list[tuple[str, Entry]] | None, PlainValidator(yaml_nodes.pairs)]


class _File(MappingModel):
    """One file of a profile."""

    extends: Annotated[yaml.Node | None, PlainValidator(lambda node: node)] = None
    auto_resolve: Flag | None = None
    alerts: _Rules = None
    insights: _Rules = None
    achievements: _Rules = None

    def rules(self, kind: Kind) -> list[tuple[str, Entry]]:
        """The rules of one kind, by id; an id may appear twice."""
        named = {
            Kind.ALERT: self.alerts,
            Kind.INSIGHT: self.insights,
            Kind.ACHIEVEMENT: self.achievements,
        }
        return named[kind] or []


def shipped() -> dict[str, Path]:
    """Return the paths of the shipped profiles by name."""
    return {name: _FOLDER / f"{name}.yml" for name in _SHIPPED}


def name_of(path: Path) -> str:
    """Return the name of a profile. A user's own file never has the name of a shipped one."""
    is_own = path.stem in _SHIPPED and path.resolve() != shipped()[path.stem].resolve()
    return path.name if is_own else path.stem


def find(profile: str | Path) -> Path:
    """Return the file of a shipped profile (by name) or of any other (by path).

    Raises UsageError if there is no such file.
    """
    known = shipped()
    path = known.get(str(profile), Path(profile))
    if not path.is_file():
        raise UsageError(
            f"there is no rule profile {profile}{nearest(str(profile), known)}\n"
            f"Name one that ships ({', '.join(known)}) or the path of your own YAML file."
        )
    return path


def read(
    path: Path, note: Callable[[NodeError], None], extending: tuple[Path, ...] = ()
) -> Profile:
    """Read the profile that a file extends, then the file itself.

    A file changes only what it names: a key replaces the same key of the same rule as a whole,
    and null removes it. An error in one rule goes to `note`, and reading continues. `extending` are
    the files that led here. Raises NodeError for an error in a file as a whole, TutorPipelineError
    if a file is not YAML.
    """
    file = yaml_nodes.validate(_File, yaml_nodes.compose(path))
    parent, parent_name = Profile({}), None
    if file.extends is not None:
        chain = (*extending, path)
        parent_path = _parent(file.extends, chain)
        parent, parent_name = read(parent_path, note, chain), parent_path.stem
    drafts = {
        kind: _merge(parent.drafts.get(kind, {}), file.rules(kind), parent_name, note)
        for kind in Kind
    }
    own = file.auto_resolve
    return Profile(drafts, parent.auto_resolve if own is None else own)


def _parent(node: yaml.Node, chain: tuple[Path, ...]) -> Path:
    """Return the file that `extends` names: a shipped profile, or a path relative to the file."""
    name: str = yaml_nodes.scalar(node, (str,), "the name or path of a profile")
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
    rules: list[tuple[str, Entry]],
    parent_name: str | None,
    note: Callable[[NodeError], None],
) -> dict[str, Draft]:
    """Return the rules of the parent, changed and extended by those of one file."""
    merged = dict(parent)
    known: set[str] = set()
    for rule_id, (key, body) in rules:
        try:
            if rule_id in known:
                raise NodeError(key, f"rule {rule_id} is there twice")
            known.add(rule_id)
            if not _RULE_ID.fullmatch(rule_id):
                raise NodeError(
                    key,
                    f"{rule_id!r} is no id of a rule: a-z, 0-9 and _, a letter first, at most 48",
                )
            entries = yaml_nodes.mapping(body)
        except NodeError as error:
            note(error)
            continue
        if rule_id in parent:
            merged[rule_id] = _changed(parent[rule_id], key, entries)
        else:
            hint = ""
            if parent_name is not None:
                hint = f"; {parent_name} has no {rule_id}{nearest(rule_id, parent)} to change"
            merged[rule_id] = Draft(key, entries, hint)
    return merged


def _changed(before: Draft, key: yaml.Node, entries: Mapping[str, Entry]) -> Draft:
    """Return a draft with the keys that an extending file names replaced or, if null, removed."""
    together = {**before.entries, **entries}
    for name, entry in entries.items():
        if name in before.entries and yaml_nodes.is_null(entry.value):
            del together[name]
    return Draft(key, together, before.hint, before)
