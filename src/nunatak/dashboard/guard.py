"""What every request must pass: its host, its origin, its size; and what every answer tells the browser."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nunatak.dashboard.settings import LARGEST_REQUEST_BYTES, Settings

READING = {"GET", "HEAD"}
LARGEST_ADDRESS_BYTES = 8192

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "worker-src 'self' blob:; connect-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""The report is one page with everything inside, and runs no script."""


class Guard:
    """Middleware: refuses what does not come from this dashboard's own pages or from a local program.

    A page of another site can make the browser call 127.0.0.1, under its own Origin, or under its own name
    once that name resolves to 127.0.0.1 (DNS rebinding): both are told by their headers.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with one sentence."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", POLICY)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            status, sentence = refusal
            await JSONResponse({"detail": sentence}, status)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """(status, sentence) of a request that must not pass."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _without_port(host) not in self._settings.hosts:
            return 403, "This dashboard does not answer under that host name: use the address it printed."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "Calls from pages of another origin are refused."
        writes = scope["method"] not in READING
        if writes and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "Calls from pages of another site are refused."
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LARGEST_ADDRESS_BYTES:
            return 414, f"The address is too long: at most {LARGEST_ADDRESS_BYTES} bytes are read."
        return _size_refusal(headers) if writes else None


def _size_refusal(headers: Headers) -> tuple[int, str] | None:
    told = headers.get("content-length", "")
    if not told.isascii() or not told.isdigit():
        return 411, "A writing call must say its length in Content-Length."
    if int(told) > LARGEST_REQUEST_BYTES:
        return 413, f"The request is too large: at most {LARGEST_REQUEST_BYTES // 1024**2} MB are read."
    return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def require_token(request: Request) -> None:
    """Refuse a writing call that does not carry the token.

    Raises
    ------
    HTTPException
        403 where nothing may be written at all, 401 where the token is missing or wrong.
    """
    token: str | None = request.app.state.settings.token
    if token is None:
        raise HTTPException(
            403, "This dashboard only reads: start it with --allow-writing to save selections or start jobs."
        )
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), token.encode()):
        raise HTTPException(401, "Writing needs the token that the dashboard printed when it started.")
