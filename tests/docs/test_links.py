"""Links of the files that are read outside of the site; those inside are checked by `mkdocs build --strict`."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
LINKS = [
    (name, link)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    for link in LINK.findall((ROOT / name).read_text())
]


def anchors(path: Path) -> set[str]:
    """The headings of a page, as GitHub and MkDocs name them."""
    without_code = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("name", "link"), LINKS)
def test_a_link_leads_to_what_is_there(name: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = ROOT / (path or name)
    assert target.is_file()
    assert not anchor or anchor in anchors(target)
