"""How the page is served: to whom, with which headers, and that nothing of it comes from elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from stream_agents.web.assets import FOLDER, HEADERS, INDEX, load
from tests.harness.agents_web import busy_runtime, serving

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "stream_agents" / "web" / FOLDER
#: uPlot 1.6.32, as published; nobody edits it here.
VENDORED = {
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_browsers_are_sent_to_the_page_and_programs_get_json() -> None:
    runtime = busy_runtime()

    async def ask() -> None:
        async with serving(runtime) as client:
            for accept in (BROWSER, "text/html", "TEXT/HTML;q=0.1"):
                async with client.get("/", headers={"Accept": accept}, allow_redirects=False) as response:
                    assert (response.status, response.headers["Location"], response.headers["Vary"]) == (
                        302, "ui", "Accept",
                    )  # fmt: skip
            for accept in ("*/*", "application/json", ""):
                async with client.get("/", headers={"Accept": accept}) as response:
                    assert (response.status, response.content_type) == (200, "application/json")
            async with client.get("/", headers={"Accept": BROWSER}) as response:
                assert (response.status, response.content_type, response.url.path) == (200, "text/html", "/ui")

    asyncio.run(ask())


def test_with_a_slash_too_many_the_page_is_found() -> None:
    runtime = busy_runtime()

    async def ask() -> None:
        async with serving(runtime) as client, client.get("/ui/?scope=all&past_seconds=600") as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert response.url.path_qs == "/ui?scope=all&past_seconds=600"

    asyncio.run(ask())


def test_every_file_has_its_type_its_headers_and_is_sent_once() -> None:
    runtime = busy_runtime()

    async def ask() -> None:
        async with serving(runtime) as client:
            for name, asset in load().items():
                async with client.get(f"/ui/{name}") as response:
                    assert (response.status, response.content_type) == (200, asset.media_type), name
                    assert await response.read() == (PAGE / name).read_bytes()
                    assert HEADERS.items() <= dict(response.headers).items()
                    tag = response.headers["ETag"]
                async with client.get(f"/ui/{name}", headers={"If-None-Match": tag}) as response:
                    assert (response.status, await response.read()) == (304, b"")
            async with client.head(f"/ui/{INDEX}") as response:
                assert response.status == 200
            for path in ("/ui/none", "/ui/..%2f__init__.py", "/ui/%2e%2e/api.py", "/ui/a/b"):
                async with client.get(path) as response:
                    assert (response.status, response.content_type) == (404, "application/json"), path
            async with client.get("/api/v1/summary") as response:
                assert response.headers["X-Content-Type-Options"] == "nosniff"

    asyncio.run(ask())


@pytest.mark.parametrize("name", sorted(file.name for file in PAGE.iterdir() if file.name not in VENDORED))
def test_no_file_names_another_server_or_makes_markup_of_text(name: str) -> None:
    text = (PAGE / name).read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[a-z]+\.|[\"'(]data:|@import", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\.cssText", text
    )
    if name.endswith(".html"):
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)


def test_what_is_vendored_is_as_it_was_published() -> None:
    found = {name: hashlib.sha256((PAGE / name).read_bytes()).hexdigest() for name in VENDORED}
    assert found == VENDORED
    assert "MIT License" in (PAGE / "uPlot.LICENSE").read_text(encoding="utf-8")


def test_the_wheel_carries_the_page() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"stream_agents/web/{FOLDER}/{file.name}" for file in PAGE.iterdir()} <= packed
