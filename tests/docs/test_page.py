"""How a page is read and run."""

import traceback
from pathlib import Path
from types import ModuleType

import click
import pytest

from tests.docs.commands import parse, written
from tests.docs.page import Block, blocks, run

PAGE = """\
# A page

    ```python
    answer = 42
    ```

<!--python
import asyncio
await asyncio.sleep(0)
assert answer == 43
-->

```sh
pip install shop && sqla-oban demo
sqla-oban run --app shop.app:oban \\
    --queues mailers:10  # in a service
sqla-oban jobs list --json | jq .
sqla-oban jobs lists
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_blocks_know_their_lines_and_lose_their_indentation(page: Path) -> None:
    shown, hidden, shell = blocks(page)
    assert shown == Block("python", "answer = 42", 4)
    assert (hidden.language, hidden.line) == ("python", 8)
    assert (shell.language, shell.line) == ("sh", 14)


async def test_blocks_share_a_module_and_fail_at_their_line_of_the_page(page: Path) -> None:
    module = ModuleType("page")
    shown, hidden, _ = blocks(page)
    await run(shown, page, module)
    with pytest.raises(AssertionError) as caught:
        await run(hidden, page, module)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == (str(page), 10)


def test_a_block_without_an_end_is_refused(page: Path) -> None:
    page.write_text("text\n```python\n")
    with pytest.raises(ValueError, match=r"page\.md:2: a block begins"):
        list(blocks(page))


def test_commands_are_found_by_line_and_parsed_but_not_run(page: Path) -> None:
    *_, shell = blocks(page)
    good, piped, wrong = written(shell)
    assert good == (15, ["run", "--app", "shop.app:oban", "--queues", "mailers:10"])
    assert piped == (17, ["jobs", "list", "--json"])
    parse(good[1])
    parse(piped[1])
    assert wrong == (18, ["jobs", "lists"])
    with pytest.raises(click.UsageError):
        parse(wrong[1])
