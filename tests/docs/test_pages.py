"""What the pages of the documentation show does what they say: see `tests/docs/page.py`."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.commands import SHELLS, parse, written
from tests.docs.page import Block, blocks, run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]}
PROGRAMS = {name: path for name, path in PAGES.items() if path.parent != ROOT}


def with_blocks_of(languages: set[str], pages: dict[str, Path]) -> list[str]:
    return [name for name, path in pages.items() if any(block.language in languages for block in blocks(path))]


@pytest.mark.parametrize("name", with_blocks_of({"python"}, PROGRAMS))
async def test_the_python_of_a_page_runs(name: str, page_module: ModuleType) -> None:
    page_module.__file__ = str(PAGES[name])
    for block in blocks(PAGES[name]):
        if block.language == "python":
            await run(block, PAGES[name], page_module)


@pytest.mark.parametrize(
    "block", [one for one in blocks(PAGES["README.md"]) if one.language == "python"], ids=lambda one: f"line {one.line}"
)
def test_what_the_readme_imports_is_there_and_all_of_it_is_python(block: Block) -> None:
    """It speaks of an application that is not there; the guides show the same things by running them."""
    tree = ast.parse(block.source)
    compile(tree, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), {})


@pytest.mark.parametrize("name", with_blocks_of(SHELLS, PAGES))
def test_the_commands_of_a_page_can_be_typed(name: str) -> None:
    for block in blocks(PAGES[name]):
        if block.language in SHELLS:
            for line, words in written(block):
                try:
                    parse(words)
                except Exception as error:
                    raise AssertionError(f"{name}:{line}: sqla-oban {' '.join(words)}: {error}") from error
