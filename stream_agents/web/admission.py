"""Who is answered by the HTTP API, decided from what was asked alone: no I/O, and `now` is an argument."""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from embedwatch.hosts import Hosts, host_name, hosts_of, origin_name

#: No request that there is takes a body.
MAX_BODY_BYTES = 64 * 1024
#: So many requests may come at once, in seconds of the steady rate.
BURST_SECONDS = 4.0
#: Of so many clients is it remembered how much they asked for; the one that was silent for longest is forgotten.
MAX_CLIENTS = 4096
READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as far as admission looks at it. `client` is the address it comes from, None where it has none.

    `open` paths are answered without a token: they hold no numbers.
    """

    method: str
    client: str | None = None
    host: str | None = None
    origin: str | None = None
    authorization: str | None = None
    media_type: str = ""
    body_bytes: int | None = 0
    open: bool = False
    unlimited: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Status, what to say, and after how many seconds to ask again where that helps."""

    status: int
    error: str
    retry_after_seconds: int | None = None


@dataclass(slots=True)
class Gate:
    """`any_address`: every interface is listened at, so a host that is an IP address is ours."""

    hosts: frozenset[str]
    any_address: bool
    requests_per_second: float
    token: str | None = field(default=None, repr=False)
    _clients: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict, repr=False)

    def judge(self, asked: Asked, now: float) -> Refusal | None:
        """Why it is not answered; None when it is. `now` in seconds of a clock that never goes back."""
        if asked.host is not None and not self._ours(host_name(asked.host)):
            return Refusal(
                403,
                "no such host is served here; who runs the agents can name it in EMBEDWATCH_AGENTS_ALLOWED_HOSTS",
            )
        if not asked.unlimited and (wait_seconds := self._wait_seconds(client_key(asked.client), now)):
            return Refusal(
                429,
                f"more than {self.requests_per_second:g} requests a second; try again in {wait_seconds} s",
                wait_seconds,
            )
        if asked.body_bytes is None:
            return Refusal(411, "a body must say its length")
        if asked.body_bytes > MAX_BODY_BYTES:
            return Refusal(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
        if asked.method not in READING and (refusal := self._writing(asked)):
            return refusal
        if self.token is not None and not asked.open and not self._knows_token(asked.authorization):
            return Refusal(401, "this needs the header `Authorization: Bearer` with the token of agents.web_token")
        return None

    def _writing(self, asked: Asked) -> Refusal | None:
        """What a page of somebody else can have a browser send must not be obeyed."""
        if asked.origin is not None and not self._ours(origin_name(asked.origin)):
            return Refusal(403, "pages of other servers may not ask this")
        if asked.body_bytes and asked.media_type != "application/json":
            return Refusal(415, "a body is application/json")
        return None

    def _ours(self, name: str) -> bool:
        return Hosts(self.hosts, self.any_address).ours(name)

    def _knows_token(self, authorization: str | None) -> bool:
        kind, _, given = (authorization or "").partition(" ")
        # As long for a token that begins rightly as for any other.
        right = hmac.compare_digest(given.strip().encode(errors="replace"), (self.token or "").encode())
        return kind.lower() == "bearer" and right

    def _wait_seconds(self, client: str, now: float) -> int:
        """A token bucket for each client: 0 when it may ask now."""
        most = max(1.0, self.requests_per_second * BURST_SECONDS)
        left, since = self._clients.pop(client, (most, now))
        left = min(most, left + max(0.0, now - since) * self.requests_per_second)
        allowed = left >= 1.0
        self._clients[client] = (left - 1.0 if allowed else left, now)
        while len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1.0 - left) / self.requests_per_second))


def gate(bound: str, allowed: Iterable[str], requests_per_second: float, token: str | None = None) -> Gate:
    """For a server that listens at `bound`; `allowed` are further names it is asked by."""
    ours = hosts_of(bound, allowed)
    return Gate(ours.names, ours.any_address, requests_per_second, token)


def client_key(client: str | None) -> str:
    """Whose requests are counted together: an IPv4 address, or the 64 bits of an IPv6 one that a subscriber has."""
    try:
        address = ipaddress.ip_address((client or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
