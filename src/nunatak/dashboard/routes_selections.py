"""API of selections: save, list, fetch as star."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response

from nunatak.dashboard import replies, selections
from nunatak.dashboard.guard import require_token
from nunatak.dashboard.routes_runs import BINARY, reader
from nunatak.dashboard.run_library import NotFoundError
from nunatak.io.particle_file import ParticleFile

router = APIRouter(prefix="/api/runs/{run}", tags=["selections"])


def _particles(request: Request, run: str) -> ParticleFile:
    file = reader(request, run).table().file
    if file is None:
        raise NotFoundError("Selections can be saved when the run has finished.")
    return file


def _info(saved: selections.SavedSelection) -> replies.SelectionInfo:
    return replies.SelectionInfo(name=saved.name, count=saved.count, path=str(saved.path))


@router.get("/selections")
def list_saved(request: Request, run: str) -> list[replies.SelectionInfo]:
    """The saved selections of a run."""
    return [_info(saved) for saved in selections.list_selections(reader(request, run).folder)]


@router.put("/selections/{name}", dependencies=[Depends(require_token)])
def save(request: Request, run: str, name: str, chosen: replies.Rows) -> replies.SelectionInfo:
    """Save particles as RUN/selections/NAME.star (every column kept) and NAME.npy (rows). Needs the token."""
    particles = _particles(request, run)
    rows = selections.checked_rows(chosen.rows, len(particles))
    return _info(selections.save_selection(reader(request, run).folder, name, particles, rows))


@router.get("/selections/{name}")
def saved_rows(request: Request, run: str, name: str) -> replies.Rows:
    """The rows of a saved selection."""
    saved = selections.find_selection(reader(request, run).folder, name)
    return replies.Rows(rows=selections.selection_rows(saved).tolist())


@router.get("/selections/{name}/star", responses=BINARY, response_class=FileResponse)
def saved_star(request: Request, run: str, name: str) -> FileResponse:
    """The star file of a saved selection."""
    saved = selections.find_selection(reader(request, run).folder, name)
    return FileResponse(saved.path, filename=f"{name}.star", media_type="application/octet-stream")


@router.post("/star", responses=BINARY, response_class=Response)
def star_of(request: Request, run: str, chosen: replies.Rows) -> Response:
    """The star file of any particles, without saving it; needs no token."""
    particles = _particles(request, run)
    content = selections.star_bytes(particles, selections.checked_rows(chosen.rows, len(particles)))
    return Response(
        content,
        media_type="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="selection.star"'},
    )
