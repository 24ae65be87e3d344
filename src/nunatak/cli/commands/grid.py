"""`nunatak grid`: how many poses a search at each step has to look at, and what that costs."""

from __future__ import annotations

from pydantic import Field

from nunatak.cli.options import CommonOptions, parse
from nunatak.cli.results import Result


class Options(CommonOptions):
    """Options of the command."""

    radius_px: int = Field(32, ge=1, description="Fourier radius of the comparison, Fourier pixels.")
    shifts_per_axis: int = Field(14, ge=1, description="Trial shifts along each axis.")
    first_order: int = Field(2, ge=0, le=8, description="HEALPix order of the first row: 2 is 15 degrees.")
    last_order: int = Field(6, ge=0, le=8, description="HEALPix order of the last row: 6 is 0.94 degrees.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    about = "Candidate counts and cost of exhaustive pose search, step by step."
    options = parse(Options, words, "grid", about)
    from nunatak.search.grid_table import grid_rows

    orders = range(options.first_order, options.last_order + 1)
    rows = grid_rows(orders, options.shifts_per_axis, options.radius_px)
    lines = [
        f"{rows[0].shifts if rows else 0} shifts, Fourier radius {options.radius_px} px",
        f"{'step':>9}{'directions':>12}{'turns':>7}{'rotations':>13}{'candidates':>16}{'GFLOP/image':>14}",
    ]
    lines += [
        f"{row.step_deg:>6.2f} deg{row.directions:>11,}{row.turns:>7}{row.rotations:>13,}"
        f"{row.candidates:>16,}{row.gflop_per_image:>14,.1f}"
        for row in rows
    ]
    return Result({"rows": [row.__dict__ for row in rows]}, lines)
