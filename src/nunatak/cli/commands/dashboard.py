"""`nunatak dashboard`: runs in a browser, live or finished."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, parse, use_machine
from nunatak.cli.results import Result, emit
from nunatak.core.errors import require


class Options(CommonOptions):
    """Options of the command."""

    runs: Positional[tuple[Path, ...]] = Field(description="Folders of runs, or folders that hold several.")
    host: str = Field("127.0.0.1", description="Address to listen on; others than this let the network in.")
    port: int = Field(8642, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_writing: bool = Field(
        False, description="Let those who have the printed token save selections and start jobs."
    )
    home: Path | None = Field(
        None, description="Where jobs get their folders; by default beside the first run."
    )


def run(words: list[str]) -> None:
    """Run the command; it says where it listens before it serves, and nothing afterwards."""
    options = parse(Options, words, "dashboard", "Show runs in a browser; the server stops with Ctrl-C.")
    require(bool(options.runs), "Say which run to show: nunatak dashboard RUN.")
    use_machine(options)
    from nunatak.dashboard import serve
    from nunatak.dashboard.app import create_app

    settings = serve.make_settings(options.runs, options.host, options.allow_writing, options.home)
    application = create_app(settings)
    listening = serve.open_socket(options.host, options.port)
    address = serve.address(settings, listening)
    sentences = [f"dashboard: {address}"]
    if settings.token:
        sentences.append("whoever has this address can write; it ends with this server")
    emit(
        Result({"address": address, "writing": bool(settings.token)}, [*sentences, "stop with Ctrl-C"]),
        options.json_output,
    )
    serve.serve(application, listening)
