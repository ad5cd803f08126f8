"""Every link from one document to another leads to a file, and to a heading in it."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    """The text without what is shown as it is, where brackets are no links."""
    return re.sub(r"`[^`\n]*`", "`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """What a link into this text may name: headings as the sites that show them do."""
    found: set[str] = set()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#+ +(.+?) *#*$", prose, re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        number = sum(1 for each in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each))
        found.add(f"{slug}-{number}" if number else slug)
    return found


def broken(document: Path, text: str) -> list[str]:
    """The links of a document that lead nowhere."""
    wrong = []
    for link in LINK.findall(without_code(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue  # another site
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (
            anchor
            and anchor
            not in anchors(text if target == document else target.read_text(encoding="utf-8"))
        ):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).name)
def test_links_between_documents_lead_somewhere(document):
    assert broken(document, document.read_text(encoding="utf-8")) == []


def test_a_link_that_leads_nowhere_is_found():
    document = PROJECT / "README.md"
    text = (
        "# Both, `a_b` and this\n\n## Twice\n\n## Twice\n"
        "[x](#both-a_b-and-this) [x](#twice-1) [x](docs/) [x](CONTRIBUTING.md#adding-a-rule)"
        " [x](https://example.com/#any) `[x](no.md)`\n```\n[x](no.md)\n```\n"
        "[x](#twice-2) [x](docs/no.md) [x](CONTRIBUTING.md#no)"
    )
    assert broken(document, text) == ["#twice-2", "docs/no.md", "CONTRIBUTING.md#no"]
