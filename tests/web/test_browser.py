"""The main paths in a real Chromium: what a person sees, clicks and types, live, under the content security policy.

Needs Debian's `chromium` and `chromium-driver`; where they are not installed, the tests are skipped.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.routing import Mount

from sqla_oban import SqlaOban
from sqla_oban.telemetry.events import OperatorActed
from sqla_oban.web import dashboard
from tests.queries.table import PAST, Table, ago
from tests.support import Recorder, eventually
from tests.web.conftest import TRACE, everything

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no chromium and chromedriver; apt-get install chromium chromium-driver"
)

ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900")


class Browser:
    """A browser that is driven from another thread, because the server runs in this one."""

    def __init__(self, driver: Chrome, base: str) -> None:
        self.driver, self.base = driver, base

    async def do(self, action: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(action, *arguments)

    async def open(self, path: str) -> None:
        await self.do(self.driver.get, self.base + path)

    async def click(self, css: str) -> None:
        """Click what `css` finds; what was replaced by a newer page meanwhile is looked up again."""

        def click() -> bool:
            try:
                found = self.driver.find_elements(By.CSS_SELECTOR, css)
                if found:
                    found[0].click()
            except StaleElementReferenceException:
                return False
            return bool(found)

        async def clicked() -> bool:
            return bool(await self.do(click))

        await eventually(clicked, css)

    async def press(self, keys: str) -> None:
        await self.do(lambda: self.driver.find_element(By.TAG_NAME, "body").send_keys(keys))

    async def js(self, script: str) -> Any:
        return await self.do(self.driver.execute_script, f"return {script}")

    async def sees(self, text: str) -> None:
        async def seen() -> bool:
            return text in str(await self.js("document.body.innerText"))

        await eventually(seen, f"{text!r} on the page")

    async def is_at(self, path: str) -> None:
        async def there() -> bool:
            return bool(await self.js("location.pathname + location.search") == path)

        await eventually(there, path)

    async def complaints(self) -> list[str]:
        """What the console says: violations of the policy, errors of scripts, what could not be loaded."""
        return [entry["message"] for entry in await self.do(self.driver.get_log, "browser")]


@pytest.fixture
async def browse(engine: AsyncEngine, serve: Any) -> AsyncIterator[Callable[..., Any]]:
    """A browser on a dashboard that is mounted under /oban: `await browse(authorize=everything)`."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = await asyncio.to_thread(lambda: Chrome(options=options, service=Service(DRIVER)))

    async def opened(**settings: Any) -> Browser:
        board = dashboard(SqlaOban(engine), **{"refresh": 0.2, "timeout": 20, "authorize": everything, **settings})
        return Browser(driver, await serve(Starlette(routes=[Mount("/oban", board)])) + "/oban")

    yield opened
    await asyncio.to_thread(driver.quit)


async def test_a_failed_job_is_found_read_and_retried(table: Table, browse: Any, events: Recorder) -> None:
    job = await table.add(
        worker="'shop.payments.charge'", state="'discarded'", attempt="1", max_attempts="1", errors=TRACE,
        attempted_at=ago(9), discarded_at=ago(8), args="""'{"order": "<b>7</b>"}'""",
    )  # fmt: skip
    browser = await browse()
    await browser.open("/")
    await browser.sees("ConnectionError: the bank does not answer")
    await browser.click(".failures a")
    await browser.is_at(f"/oban/jobs/{job}")
    await browser.sees("bank.py, line 7")
    await browser.sees('"<b>7</b>"')
    await browser.click("#retry")
    await browser.sees("1 job was made available.")
    assert (await table.states())[job] == "available"
    assert [event.action for event in events.of(OperatorActed)] == ["retry_jobs"]
    assert await browser.complaints() == []


async def test_a_page_is_kept_up_to_date_and_keeps_what_was_ticked(table: Table, browse: Any) -> None:
    first = await table.add(state="'retryable'", worker="'shop.first'", scheduled_at=ago(60))
    browser = await browse()
    await browser.open("/jobs?state=retryable")
    await browser.click(f"input[name=id][value='{first}']")
    await browser.sees("1 selected")
    await table.add(state="'retryable'", worker="'shop.second'", scheduled_at=ago(30))
    await browser.sees("second")
    assert await browser.js("[...document.querySelectorAll('input[name=id]')].map((box) => box.checked)") == [
        True,
        False,
    ]
    await browser.sees("live")
    await browser.click("button[formaction$='/jobs/cancel']")
    await browser.sees("1 job was cancelled.")
    assert (await table.states())[first] == "cancelled"
    assert await browser.complaints() == []


async def test_a_queue_is_paused(table: Table, browse: Any, engine: AsyncEngine) -> None:
    await table.add(queue="'mailers'")
    browser = await browse()
    await browser.open("/queues")
    await browser.click("[data-queue=mailers] button[formaction$='/queues/pause']")
    await browser.sees("The queue mailers is paused.")
    assert await table.scalar("SELECT paused FROM oban_queues WHERE queue = 'mailers'")
    await browser.click("[data-queue=mailers] button[formaction$='/queues/resume']")
    await browser.sees("The queue mailers goes on.")
    assert await browser.complaints() == []


async def test_what_is_to_be_deleted_is_asked_about_first(table: Table, browse: Any) -> None:
    job = await table.add(state="'completed'", completed_at=PAST)
    browser = await browse()
    await browser.open(f"/jobs/{job}")
    await browser.click("button.danger")
    await browser.do(lambda: browser.driver.switch_to.alert.dismiss())
    assert job in await table.states()
    await browser.click("button.danger")
    await browser.do(lambda: browser.driver.switch_to.alert.accept())
    await browser.sees("1 job was deleted.")
    assert await table.states() == {}


async def test_dark_and_light(browse: Any, table: Table) -> None:
    browser = await browse()
    background = "getComputedStyle(document.body).backgroundColor"
    for system, other in (("light", "dark"), ("dark", "light")):
        features = {"features": [{"name": "prefers-color-scheme", "value": system}]}
        await browser.do(browser.driver.execute_cdp_cmd, "Emulation.setEmulatedMedia", features)
        await browser.open("/")
        await browser.js("localStorage.clear()")
        await browser.open("/")
        before = await browser.js(background)
        await browser.press("t")
        assert await browser.js("document.documentElement.dataset.theme") == other
        assert await browser.js(background) != before
        await browser.open("/jobs")
        assert await browser.js("document.documentElement.dataset.theme") == other
    assert await browser.complaints() == []


async def test_the_keyboard_leads_everywhere(table: Table, browse: Any) -> None:
    ids = [await table.add(state="'discarded'", discarded_at=ago(age)) for age in (30, 60)]
    browser = await browse()
    await browser.open("/")
    places = {"w": "workflows", "q": "queues", "h": "health", "c": "crons", "n": "nodes", "o": "", "j": "jobs"}
    for key, path in places.items():
        await browser.press(key)
        await browser.is_at(f"/oban/{path}")
    await browser.open("/jobs?state=discarded")
    await browser.press("/")
    assert await browser.js("document.activeElement.id") == "search"
    await browser.open("/jobs?state=discarded")
    await browser.press("\ue015")  # arrow down
    await browser.press("\ue015")
    await browser.press("x")
    await browser.sees("1 selected")
    await browser.press("\ue007")  # enter
    await browser.is_at(f"/oban/jobs/{ids[1]}")
    await browser.press("?")
    await browser.sees("dark or light")


async def test_every_page_fits_a_phone(table: Table, browse: Any) -> None:
    long = "x" * 120
    job = await table.add(
        worker=f"'shop.{long}'", queue=f"'{long}'", state="'discarded'", errors=TRACE, discarded_at=ago(5),
        attempted_at=ago(6), args=f"""'{{"{long}": "{long}"}}'""",
    )  # fmt: skip
    await table.add(queue=f"'{long}'")
    await table.add_producer(beaten=ago(1), meta='{"ttl": 60, "local_limit": 5, "running": 2}')
    await table.scalar("UPDATE oban_producers SET name = 'Oban' RETURNING 1")
    browser = await browse()
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    await browser.do(browser.driver.execute_cdp_cmd, "Emulation.setDeviceMetricsOverride", phone)
    for path in ("/", "/jobs", f"/jobs/{job}", f"/jobs/{job}/edit", "/queues", "/crons", "/crons/new", "/nodes"):
        await browser.open(path)
        assert await browser.js("document.documentElement.scrollWidth") <= 360, path
    assert await browser.complaints() == []
