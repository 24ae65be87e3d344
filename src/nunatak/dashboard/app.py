"""The web application: API routes, errors as sentences, and the static pages."""

from __future__ import annotations

from importlib import resources

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from nunatak import __version__
from nunatak.core.errors import InputError, NunatakError
from nunatak.dashboard import replies, routes_rest, routes_runs, routes_selections
from nunatak.dashboard.guard import Guard
from nunatak.dashboard.jobs import JobDesk
from nunatak.dashboard.reader import Readers
from nunatak.dashboard.run_library import NotFoundError, RunLibrary
from nunatak.dashboard.settings import Settings
from nunatak.export.markup import palette

ABOUT = (
    "Runs of Nunatak: progress, particles, maps and selections. Reading needs nothing; what writes needs "
    "the header `Authorization: Bearer TOKEN`, with the token of `nunatak dashboard --allow-writing`. "
    "Every refusal is one sentence in `detail`."
)


def create_app(settings: Settings) -> FastAPI:
    """The application for some run folders.

    Raises
    ------
    InputError
        A folder does not exist.
    """
    problems = {status: {"model": replies.Problem} for status in (400, 401, 403, 404, 413, 422)}
    app = FastAPI(
        title="Nunatak",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # its pages come from another host
        redoc_url=None,
        responses=problems,  # type: ignore[arg-type]
    )
    app.state.settings = settings
    app.state.runs = RunLibrary(settings)
    app.state.readers = Readers()
    app.state.desk = JobDesk(settings.home)
    for routes in (routes_rest, routes_runs, routes_selections):
        app.include_router(routes.router)
    app.add_exception_handler(NunatakError, _told)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_middleware(Guard, settings=settings)
    app.add_api_route("/palette.css", _palette, include_in_schema=False)
    static = resources.files("nunatak.dashboard").joinpath("static")
    app.mount("/", StaticFiles(directory=str(static), html=True), name="static")
    return app


def _palette() -> Response:
    """The report's colours, so that both look alike."""
    return Response(palette(), media_type="text/css")


def _told(request: Request, error: Exception) -> JSONResponse:
    status = 404 if isinstance(error, NotFoundError) else 400 if isinstance(error, InputError) else 500
    return JSONResponse({"detail": " ".join(str(error).split())}, status)


def _misunderstood(request: Request, error: Exception) -> JSONResponse:
    """The first problem of a request as one sentence; its value is not repeated, it may be long."""
    problem = (
        error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    )
    place = ".".join(str(part) for part in problem["loc"] if part != "body") or "The request"
    return JSONResponse({"detail": f"{place}: {problem['msg']}."}, 422)


def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, StarletteHTTPException):
        raise error
    sentences = {404: "There is nothing at this address.", 405: "This address does not take such a call."}
    default = error.detail in ("Not Found", "Method Not Allowed")
    detail = sentences.get(error.status_code, error.detail) if default else error.detail
    return JSONResponse({"detail": detail}, error.status_code, getattr(error, "headers", None))
