"""API of the dashboard itself, of jobs, and of comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from nunatak import __version__
from nunatak.dashboard import replies
from nunatak.dashboard.comparing import RunComparison, compare_runs
from nunatak.dashboard.density import shown
from nunatak.dashboard.guard import require_token
from nunatak.dashboard.jobs import StartedJob
from nunatak.dashboard.routes_runs import BINARY, map_response, reader
from nunatak.dashboard.run_library import NotFoundError
from nunatak.runs.job import JobConfig
from nunatak.runs.progress import read_progress

router = APIRouter(prefix="/api")

PERCENTILES = [5, 25, 50, 75, 95]
HISTOGRAM_EDGES_DEG = np.arange(0.0, 181.0, 2.0)


@router.get("/about", tags=["dashboard"])
def about(request: Request) -> replies.About:
    """Version, and whether this dashboard may write."""
    settings = request.app.state.settings
    return replies.About(version=__version__, writing=settings.token is not None, home=str(settings.home))


@router.post("/token", tags=["dashboard"], dependencies=[Depends(require_token)])
def check_token(request: Request) -> replies.About:
    """Whether the token that a call carries is the right one; refused where it is not."""
    return about(request)


@router.get("/compare", tags=["comparison"])
def compare(request: Request, first: str, second: str) -> replies.Comparison:
    """Poses, latents and mean maps of two finished runs, the second carried into the first one's frame."""
    found = _compared(request, first, second)
    difference_deg = found.poses.alignment.error_deg
    maps = found.maps
    fsc = None
    if maps is not None:
        shells = np.arange(1, len(maps.correlation))
        extent_A = maps.pixel_size_A * len(maps.placed)
        fsc = replies.Curve(
            resolution_A=(extent_A / shells).round(3).tolist(), fsc=maps.correlation[1:].round(5).tolist()
        )
    return replies.Comparison(
        common=len(found.rows[0]),
        hand=found.poses.alignment.hand,
        rotation_difference_deg=np.percentile(difference_deg, PERCENTILES).round(3).tolist(),
        rotation_histogram=np.histogram(difference_deg, HISTOGRAM_EDGES_DEG)[0].tolist(),
        within_deg={str(limit): float((difference_deg <= limit).mean()) for limit in (2, 5, 10, 20)},
        shift_difference_A=np.percentile(found.poses.shift_difference_A, PERCENTILES).round(3).tolist(),
        latent_correlations=found.latents.round(4).tolist(),
        fsc=fsc,
        map_resolution_A=None if maps is None else maps.resolution_A,
    )


@router.get("/compare/map", tags=["comparison"], responses=BINARY, response_class=Response)
def compared_map(request: Request, first: str, second: str) -> Response:
    """The second run's mean map in the first one's frame, as MRC."""
    maps = _compared(request, first, second).maps
    if maps is None:
        raise NotFoundError("The two runs' boxes differ in size: their maps cannot be laid over each other.")
    return map_response(shown(maps.placed, maps.pixel_size_A))


def _compared(request: Request, first: str, second: str) -> RunComparison:
    return compare_runs(reader(request, first), reader(request, second))


@router.get("/jobs/schema", tags=["jobs"])
def job_schema() -> dict[str, Any]:
    """JSON schema of a job: every parameter with its default, range, unit (in its name) and help."""
    return JobConfig.model_json_schema()


@router.get("/jobs", tags=["jobs"])
def list_jobs(request: Request) -> list[replies.JobInfo]:
    """Jobs that were started here."""
    return [_info(request, name, job) for name, job in request.app.state.desk.jobs().items()]


@router.post("/jobs", tags=["jobs"], status_code=201, dependencies=[Depends(require_token)])
def start_job(request: Request, wanted: replies.JobRequest) -> replies.JobInfo:
    """Start a job in a folder of its own below the dashboard's home. Needs the token."""
    job = request.app.state.desk.start(wanted.name, wanted.job)
    request.app.state.runs.add(job.folder)
    return _info(request, wanted.name, job)


@router.post("/jobs/{name}/stop", tags=["jobs"], dependencies=[Depends(require_token)])
def stop_job(request: Request, name: str) -> replies.JobInfo:
    """Stop a job after its last checkpoint; it can be resumed. Needs the token."""
    return _info(request, name, request.app.state.desk.stop(name))


@router.post("/runs/{run}/resume", tags=["jobs"], status_code=201, dependencies=[Depends(require_token)])
def resume_run(request: Request, run: str) -> replies.JobInfo:
    """Go on with a run that stopped, from its last checkpoint, as `nunatak resume` does. Needs the token."""
    desk = request.app.state.desk
    name = desk.resume(run, request.app.state.runs.folder(run))
    return _info(request, name, desk.jobs()[name])


def _info(request: Request, name: str, job: StartedJob) -> replies.JobInfo:
    runs = {folder: run for run, folder in request.app.state.runs.runs().items()}
    refusal = request.app.state.desk.refusal(job.folder, read_progress(job.folder))
    return replies.JobInfo(
        name=name,
        run=runs.get(job.folder.absolute()),
        state=job.state,
        last_words=job.last_words,
        resumable=refusal is None,
    )
