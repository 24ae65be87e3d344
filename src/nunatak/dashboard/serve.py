"""Serving the application until it is stopped."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from nunatak.core.errors import InputError
from nunatak.dashboard.run_library import is_run
from nunatak.dashboard.settings import Settings

TOKEN_BYTES = 24


def make_settings(folders: tuple[Path, ...], host: str, allow_writing: bool, home: Path | None) -> Settings:
    """Settings of a dashboard; a token is drawn where writing is allowed."""
    first = folders[0].absolute()
    default = first.parent if is_run(first) else first
    token = secrets.token_urlsafe(TOKEN_BYTES) if allow_writing else None
    named = f"[{host}]" if ":" in host else host.lower()
    hosts = Settings(folders, default).hosts | {named}
    return Settings(folders, (home or default).absolute(), token, hosts)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises
    ------
    InputError
        The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(
            f"{host}:{port} cannot be had ({error}): choose another --port, or 0 for any free one."
        ) from error
    return listening


def address(settings: Settings, listening: socket.socket) -> str:
    """Where to point a browser; the token stands behind the #, which browsers send to nobody."""
    host, port = listening.getsockname()[:2]
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{port}/" + (f"#token={settings.token}" if settings.token else "")


def serve(application: FastAPI, listening: socket.socket) -> None:
    """Answer calls until Ctrl-C."""
    config = uvicorn.Config(application, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])
