"""API of one run: progress, columns, maps, images, files."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from numpy.typing import NDArray

from nunatak.core.errors import require
from nunatak.dashboard import replies
from nunatak.dashboard.density import ShownMap
from nunatak.dashboard.guard import REPORT_POLICY
from nunatak.dashboard.paths import find_path
from nunatak.dashboard.pictures import particle_png
from nunatak.dashboard.reader import RunReader
from nunatak.dashboard.run_library import NotFoundError
from nunatak.export.run_contents import FscTable
from nunatak.export.words import plain_value
from nunatak.runs.progress import RunProgress, read_progress, read_summary

router = APIRouter(prefix="/api/runs", tags=["runs"])

FILES = (
    "particles.star",
    "particles.cs",
    "latents.npy",
    "latents_covariance.npy",
    "mean.mrc",
    "half1.mrc",
    "half2.mrc",
    "fsc.csv",
    "fsc_molecule.csv",
    "summary.json",
    "config.toml",
    "history.jsonl",
    "report.html",
)
"""What may be downloaded of a run's folder."""

BINARY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}


def reader(request: Request, run: str) -> RunReader:
    """The reader of the run that a call names."""
    state = request.app.state
    return state.readers.of(state.runs.folder(run))


@router.get("")
def list_runs(request: Request) -> list[replies.RunCard]:
    """All runs that this dashboard shows."""
    return [card(request, name, folder) for name, folder in request.app.state.runs.runs().items()]


def known_progress(request: Request, folder: Path) -> RunProgress:
    """Where a run stands; of a job of this dashboard that has ended it is known that it is not going on."""
    progress = read_progress(folder)
    ended = progress.phase == "running" and request.app.state.desk.has_ended(folder)
    return replace(progress, phase="silent") if ended else progress


def card(request: Request, name: str, folder: Path) -> replies.RunCard:
    """A run in a few words."""
    progress = known_progress(request, folder)
    summary = read_summary(folder)
    words = {
        "running": f"Running: {progress.stage}, {progress.fraction:.0%} done.",
        "silent": "Nothing was written for long: the run has probably stopped.",
        "empty": "Nothing was written yet.",
        "finished": "Finished.",
    }
    return replies.RunCard(
        id=name,
        folder=str(folder),
        phase=progress.phase,
        sentence=str(summary.get("outcome_sentence") or words[progress.phase]),
        particles=summary.get("particles"),
        latent_dim=summary.get("latent_dim"),
        resolution_A=summary.get("resolution_A"),
    )


@router.get("/{run}/progress")
def run_progress(request: Request, run: str) -> replies.Progress:
    """Stage, time left, history and half-map correlation of a run, live or finished."""
    mine = reader(request, run)
    progress, fsc = known_progress(request, mine.folder), mine.fsc()
    return replies.Progress(
        **{
            name: getattr(progress, name) for name in replies.Progress.model_fields if hasattr(progress, name)
        },
        fsc=None if fsc is None else curve(fsc),
        map_stamp=mine.map_stamp(),
        resumable=request.app.state.desk.refusal(mine.folder, progress) is None,
    )


def curve(table: FscTable) -> replies.Curve:
    """A correlation for the API."""
    return replies.Curve(
        resolution_A=(1 / table.frequencies_per_A).round(3).tolist(), fsc=table.correlation.round(5).tolist()
    )


@router.get("/{run}/details")
def run_details(request: Request, run: str) -> replies.Details:
    """Parameters, outcome, warnings and provenance."""
    folder = reader(request, run).folder
    try:
        parameters = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        parameters = {}
    typed = folder / "command.txt"
    return replies.Details(
        summary=read_summary(folder),
        parameters=parameters,
        command=typed.read_text(encoding="utf-8", errors="replace").strip() if typed.exists() else "",
        folder=str(folder),
        files=[name for name in FILES if (folder / name).is_file()],
    )


@router.get("/{run}/files/{name}", responses=BINARY, response_class=FileResponse)
def run_file(request: Request, run: str, name: str) -> FileResponse:
    """One of the run's files, by a name of the list in its details."""
    folder = reader(request, run).folder
    path = folder / name if name in FILES else None
    if path is None or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise NotFoundError("There is no file of that name to download.")
    if name == "report.html":
        return FileResponse(path, headers={"Content-Security-Policy": REPORT_POLICY})
    return FileResponse(path, filename=f"{run}_{name}", media_type="application/octet-stream")


@router.get("/{run}/columns")
def run_columns(request: Request, run: str) -> replies.Columns:
    """Which numbers every particle has."""
    mine = reader(request, run)
    table = mine.table()
    infos = []
    for column in table.columns.values():
        finite = column.values[np.isfinite(column.values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        infos.append(
            replies.ColumnInfo(
                name=column.name, title=column.title, low=low, high=high, labels=list(column.labels)
            )
        )
    return replies.Columns(
        count=table.count,
        latent_dim=table.latents.shape[1],
        has_views=table.rotations is not None,
        stamp=mine.map_stamp(),
        columns=infos,
    )


@router.get("/{run}/columns/{column}", responses=BINARY, response_class=Response)
def run_column(request: Request, run: str, column: str) -> Response:
    """A column's values as little-endian float32, one per particle in the run's order."""
    found = reader(request, run).table().columns.get(column)
    if found is None:
        raise NotFoundError("There is no column of that name.")
    return _floats(found.values)


@router.get("/{run}/views", responses=BINARY, response_class=Response)
def run_views(request: Request, run: str) -> Response:
    """(n, 3) directions of view in the map's frame (x, y, z), little-endian float32."""
    rotations = reader(request, run).table().rotations
    if rotations is None:
        raise NotFoundError("The particles of this run have no poses.")
    return _floats(rotations[:, 2])


def _floats(values: NDArray) -> Response:
    return Response(np.ascontiguousarray(values, "<f4").tobytes(), media_type="application/octet-stream")


@router.get("/{run}/particles/{row}")
def run_particle(request: Request, run: str, row: int) -> replies.ParticleInfo:
    """Everything about one particle."""
    table = reader(request, run).table()
    if not 0 <= row < table.count:
        raise NotFoundError(f"There is no particle {row}: the run has {table.count}.")
    values = {}
    for column in table.columns.values():
        value = float(column.values[row])
        named = column.labels[int(value)] if column.labels and np.isfinite(value) else plain_value(value)
        values[column.title] = named
    return replies.ParticleInfo(row=row, latent=table.latents[row].tolist(), values=values)


@router.get("/{run}/images/{row}.png", responses=PICTURE, response_class=Response)
def run_image(
    request: Request, run: str, row: int, size: Annotated[int, Query(ge=16, le=512)] = 128
) -> Response:
    """A particle's image, blurred a little, as PNG."""
    image = reader(request, run).images(np.array([row]))[0]
    return Response(
        particle_png(image, size), media_type="image/png", headers={"Cache-Control": "private, max-age=3600"}
    )


@router.get("/{run}/map", responses=BINARY, response_class=Response)
def run_map(
    request: Request,
    run: str,
    z: Annotated[list[float] | None, Query(description="Latent position, one z for each dimension.")] = None,
    name: Annotated[str | None, Query(description="mean, half1 or half2 instead.")] = None,
) -> Response:
    """The map at a latent position, at most 128 voxels wide, as MRC.

    X-Level has a contour level for it, X-Radius the radius of that surface in angstrom.

    Without a position: the map at zero latents, of a run that goes on that of its last checkpoint.
    """
    mine = reader(request, run)
    if name is not None:
        found = mine.stored_map(name)
    else:
        where = np.zeros(mine.basis().latent_dim) if z is None else np.asarray(z, float)
        require(bool(np.isfinite(where).all()), "A latent position is made of finite numbers.")
        found = mine.map_at(where)
    return map_response(found)


def map_response(found: ShownMap) -> Response:
    """MRC bytes with the contour level that shows them and the surface's radius in angstrom."""
    headers = {"X-Level": f"{found.level:.6g}", "X-Radius": f"{found.radius_A:.6g}"}
    return Response(found.content, media_type="application/octet-stream", headers=headers)


@router.post("/{run}/path")
def run_path(request: Request, run: str, way: replies.PathRequest) -> replies.PathReply:
    """Positions along a way through the latent space; nothing is written."""
    table = reader(request, run).table()
    q = table.latents.shape[1]
    require(q > 0, "A homogeneous run has no latents to go along.")
    stops = [np.asarray(point, float) for point in way.points]
    fits = all(stop.shape == (q,) and np.isfinite(stop).all() for stop in stops) and len(stops) != 1
    require(fits, f"A path needs two stops or more of {q} finite numbers each, or none.")
    found = find_path(
        table.latents,
        table.covariances,
        np.stack(stops) if stops else np.zeros((0, q)),
        way.steps,
        way.through_particles,
    )
    return replies.PathReply(
        positions=found.positions.tolist(), support=found.support.round(4).tolist(), warning=found.warning
    )
