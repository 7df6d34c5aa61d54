"""The page for people: files of this package, read once, served with what keeps other content out of it."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib import resources

from aiohttp import web

FOLDER = "page"
INDEX = "index.html"
#: Nothing but files of this server is loaded, and no markup is made of text: names that users chose are text.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",  # asked again each time, and answered with 304: an update is seen at once
}
#: Not those of the machine, which may be wrong.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    media_type: str
    tag: str


def load() -> dict[str, Asset]:
    """Every file of the page, by name."""
    found = {}
    for file in resources.files("stream_agents.web").joinpath(FOLDER).iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        if not file.is_file() or file.name.startswith("."):
            continue
        body = file.read_bytes()
        kind = _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "text/plain")
        found[file.name] = Asset(body, kind, hashlib.sha256(body).hexdigest()[:20])
    return found


def serve(asset: Asset, request: web.Request) -> web.Response:
    """The file, or 304 to whoever has it."""
    if any(tag.value == asset.tag for tag in request.if_none_match or ()):
        response = web.Response(status=304, headers=HEADERS)
    else:
        response = web.Response(body=asset.body, content_type=asset.media_type, charset="utf-8", headers=HEADERS)
        response.enable_compression()
    response.etag = asset.tag
    return response


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks: programs that ask for anything, or for JSON, do not."""
    return "text/html" in request.headers.get("Accept", "").lower()
