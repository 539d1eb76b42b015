"""Probes, asked by HTTP as a service manager asks."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import SqlaOban, job, telemetry
from sqla_oban.errors import ConfigurationError
from sqla_oban.observe import Health, asgi
from sqla_oban.observe.answer import Answer
from sqla_oban.observe.serving import served
from sqla_oban.telemetry.events import Beaten, JobStarted, ListenerDown, ListenerUp, LivenessLost, RunnerStopping
from tests.support import Recorder, enqueue, eventually, fast_settings

GO = asyncio.Event()


@job(name="health.lasting")
async def lasting() -> None:
    await GO.wait()


async def asked(port: int, path: str) -> tuple[int, Any]:
    def get() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    return await asyncio.to_thread(get)


async def test_a_runner_is_ready_from_its_start_to_its_stop(engine: AsyncEngine, events: Recorder) -> None:
    oban = SqlaOban(engine, queues={"default": 1}, **fast_settings())
    async with Health(oban) as health:
        with served(health.endpoints, 0, "127.0.0.1") as port:
            assert (await asked(port, "/ready"))[0] == 503
            assert (await asked(port, "/live"))[0] == 200
            async with oban:
                await events.wait_for(ListenerUp)
                status, body = await asked(port, "/ready")
                assert (status, body["status"], body["node"]) == (200, "ok", oban.node)
                assert (body["stopping"], body["beating"], body["hearing"]) == (False, True, True)
            assert (await asked(port, "/ready"))[0] == 503
            assert (await asked(port, "/live"))[0] == 200


async def test_who_was_told_to_stop_is_not_ready_while_its_jobs_end(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"default": 1}, shutdown_grace_period=60.0)
    async with Health(oban) as health:
        await enqueue(engine, lasting.new())
        await events.wait_for(JobStarted)
        await events.wait_for(Beaten, count=len(events.of(Beaten)) + 1)
        assert health.ready().status == 200
        stopping = asyncio.create_task(oban.stop())
        await events.wait_for(RunnerStopping)
        await events.wait_for(Beaten, count=len(events.of(Beaten)) + 1)
        assert (health.ready().status, json.loads(health.ready().body)["stopping"]) == (503, True)
        GO.set()
        await stopping


async def test_who_cannot_prove_to_live_is_not_ready_and_lives(start: Any, events: Recorder) -> None:
    oban = await start(queues={"default": 1})
    async with Health(oban) as health:
        await events.wait_for(Beaten, count=len(events.of(Beaten)) + 1)
        assert health.ready().status == 200
        telemetry.emit(LivenessLost(node="another"))
        assert health.ready().status == 200
        health._see(LivenessLost(node=oban.node))
        assert (health.ready().status, health.live().status) == (503, 200)
        await eventually(lambda: health.ready().status == 200, "the next beat")


async def test_who_is_deaf_is_ready_since_it_polls(start: Any, events: Recorder) -> None:
    oban = await start(queues={"default": 1})
    async with Health(oban) as health:
        await events.wait_for(Beaten, count=len(events.of(Beaten)) + 1)
        telemetry.emit(ListenerDown(node=oban.node, reason="test"))
        answer = health.ready()
        assert (answer.status, json.loads(answer.body)["hearing"]) == (200, False)


async def test_a_loop_that_is_blocked_for_too_long_is_told_by_another_thread(engine: AsyncEngine) -> None:
    async with Health(SqlaOban(engine), patience=0.05) as health:
        time.sleep(0.2)  # noqa: ASYNC251 (the loop is to be blocked)
        assert health.live().status == 503
        await eventually(lambda: health.live().status == 200, "the loop runs again")


def test_patience_is_a_number_of_seconds(engine: AsyncEngine) -> None:
    with pytest.raises(ConfigurationError, match="patience"):
        Health(SqlaOban(engine), patience=0)


async def test_endpoints_are_mounted_in_another_application() -> None:
    application = asgi({"/ready": lambda: Answer(200, "text/plain", b"yes")})
    transport = httpx.ASGITransport(app=application, root_path="/health")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/health/ready")).text == "yes"
        assert (await client.head("/health/ready")).content == b""
        assert (await client.get("/health/other")).status_code == 404
        assert (await client.post("/health/ready")).status_code == 405


async def test_what_fails_is_an_answer_too() -> None:
    def broken() -> Answer:
        raise RuntimeError("secret")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi({"/": broken})), base_url="http://t") as client:
        answer = await client.get("/")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
