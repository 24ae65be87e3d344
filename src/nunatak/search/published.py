"""The hierarchical search's parameters under their published names: no more than numbers, quick to import."""

from __future__ import annotations

from dataclasses import dataclass

from nunatak.search.marching import Schedule

PUBLISHED_BOX_PX = 128
"""Box of the images that the published lengths were chosen for."""


@dataclass(frozen=True)
class PublishedParameters:
    """Parameters of cryoDRGN2 and cryoDRGN-AI's pose search; lengths in pixels of the particles' box.

    Attributes
    ----------
    l_start, l_end : int
        Fourier radius of the coarse grid and of the last level, in Fourier pixels.
    n_iter : int
        Levels after the coarse grid.
    t_extent : float
        Half the width of the square of trial shifts.
    t_n_grid : int
        Trial shifts along each axis for a grid of HEALPix order 1, doubled with each further order as
        published, so 14 x 14 at order 2: `shifts_per_axis`.
    t_x_shift, t_y_shift : float
        Centre of the square.
    no_trans_search_at_pose_search : bool
        Try the centre of the square only.
    n_kept_poses : int
        Poses kept at every level.
    base_healpy : int
        HEALPix order of the coarse grid.
    schedule : "linear" or "doubling"
        How the radius grows, see frequency_march.
    """

    l_start: int = 12
    l_end: int = 32
    n_iter: int = 4
    t_extent: float = 20.0
    t_n_grid: int = 7
    t_x_shift: float = 0.0
    t_y_shift: float = 0.0
    no_trans_search_at_pose_search: bool = False
    n_kept_poses: int = 8
    base_healpy: int = 2
    schedule: Schedule = "linear"
