"""Whether the host that an HTTP request names is ours. No I/O.

A page of a stranger that has its own name point to us (DNS rebinding) asks with that name, never with an address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hosts:
    """`any_address`: every interface is listened at, so a host that is an IP address is ours."""

    names: frozenset[str]
    any_address: bool

    def ours(self, name: str) -> bool:
        """`name` as `host_name` gives it."""
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address or address.is_loopback


def hosts_of(bound: str, allowed: Iterable[str]) -> Hosts:
    """Of a server that listens at `bound`; `allowed` are further names it is asked by."""
    everywhere = bound in ("", "0.0.0.0", "::")  # noqa: S104 (compared, not bound)
    names = {"localhost", *(host_name(name) for name in allowed), *(() if everywhere else (host_name(bound),))}
    return Hosts(frozenset(names), everywhere)


def is_loopback(bound: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    name = host_name(bound)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def host_name(host: str) -> str:
    """Of a `Host` header, or an address with or without brackets: the name without port, in small letters."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    if text.count(":") > 1:  # an IPv6 address alone
        return text
    return text.partition(":")[0].rstrip(".")


def origin_name(origin: str) -> str:
    """Of an `Origin` header; `null` is nobody's."""
    scheme, found, host = origin.strip().partition("://")
    return host_name(host) if found and scheme.lower() in ("http", "https") else ""


def name_list(text: str) -> tuple[str, ...]:
    """Names of a setting one by one: they are separated by commas."""
    return tuple(name for part in text.split(",") if (name := part.strip()))
