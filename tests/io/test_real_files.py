"""Every particle file that was collected is read, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _star_inputs import SHARED

from nunatak.core.errors import InputError
from nunatak.io.cryosparc import read_cryosparc
from nunatak.io.particle_file import ReadOptions
from nunatak.io.star import read_star, write_particles_star

PARTICLES = {
    "metadata/cryodrgn_tests/FinalRefinement-OriginalParticles-PfCRT.star": (5, 1.035),
    "metadata/cryodrgn_tests/relion31.6opticsgroups.star": (139, 1.25),
    "metadata/cryodrgn_tests/relion5.star": (17, 0.89),
    "metadata/cryodrgn_tests/sta_testing.star": (219, 1.96),
    "metadata/cryopicls/cryosparc_P2_J744_005_particles_pyem.star.gz": (5908, 1.7138),
    "metadata/roodmus/relion_subset/Extract/job013/particles.star": (262, 1.40625),
    "metadata/star/RyR1GCs_clustRem.star.gz": (14491, 12.55),
    "metadata/star/SOD_relion1_images.star.gz": (6496, 3.54),
    "metadata/star/cryosparc_sim_starfile.star.gz": (8000, 1.0),
    "metadata/star/esrf_input_particles.star.gz": (2021, 3.0),
    "metadata/star/isecc_relion31_aberrations.star": (1, 1.1),
    "particles/betagal_10061/particles_192.star": (101, 1.274),
    "particles/relion31/relion31.star": (5, 2.806),
    "particles/relion31/relion31.v2.star": (5, 2.806),
    "particles/simplecryoem/relion_proj_batch.star": (24, 3.54),
    "particles/tilt_ribosome/sta_testing_bin8.star": (219, 1.96),
    "particles/tomodrgn_10076_2class/10076_both_32_sim.star": (1296, 13.1),
}
SUBTOMOGRAMS = [
    "metadata/cryocat_star/relion5.1_run_it025_data.star.gz",
    "metadata/cryocat_star/relion5_tutorial_run_data.star.gz",
    "metadata/cryocat_star/relion_3.0.star.gz",
    "metadata/cryocat_star/relion_3.1_optics.star.gz",
    "metadata/cryocat_star/relion_4.0.star.gz",
    "metadata/cryocat_star/warp2_particles_matching.star.gz",
    "metadata/starfile_edge/one_loop.star",
]


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip("the shared data are not beside the repository")
    return SHARED / name


@pytest.mark.parametrize("name", PARTICLES)
def test_particle_files_are_read(name: str) -> None:
    file = read_star(shared(name))
    rows, pixel_size_A = PARTICLES[name]
    assert len(file) == rows
    assert file.group_pixel_size_A[0] == pytest.approx(pixel_size_A)
    assert file.has_ctf
    assert 1000 < float(file.optics.defocus_u_A.median()) < 60000


@pytest.mark.parametrize("name", SUBTOMOGRAMS)
def test_subtomograms_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="subtomograms"):
        read_star(shared(name))


def sentence_of(read: Callable[[Path], object], path: Path) -> str:
    """The error that reading ends with, or ''."""
    try:
        read(path)
    except InputError as fault:
        return str(fault)
    return ""


def test_everything_else_gets_one_sentence() -> None:
    shared("metadata/starfile_edge")
    for path in sorted(SHARED.glob("metadata/starfile_edge/**/*.star")):
        assert "\n" not in sentence_of(read_star, path), path
    for path in sorted(SHARED.glob("metadata/**/*.cs*")):
        assert "\n" not in sentence_of(read_cryosparc, path), path


def test_file_without_pixel_size_takes_a_given_one() -> None:
    path = shared("particles/relion_projections/rln_proj_65.star")
    file = read_star(path, ReadOptions(pixel_size_A=1.0))
    assert file.group_box_px == (65,)
    assert not file.has_ctf
    assert file.poses is not None


def test_shifts_in_pixels_beside_an_optics_table() -> None:
    file = read_star(shared("particles/relion_projections/rln_proj_64_shifted.star"))
    assert file.poses is not None
    assert file.poses.shifts_A[0].tolist() == [6.0, 10.0]


@pytest.mark.parametrize(
    "name", ["metadata/cryodrgn_tests/relion31.6opticsgroups.star", *list(PARTICLES)[-3:]]
)
def test_real_files_survive_the_round_trip(name: str, tmp_path: Path) -> None:
    file = read_star(shared(name))
    write_particles_star(tmp_path / "out.star", file, {})
    back = read_star(tmp_path / "out.star")
    assert back.group_pixel_size_A == pytest.approx(file.group_pixel_size_A)
    assert back.optics_group.tolist() == file.optics_group.tolist()
    assert set(file.rows.columns) <= set(back.rows.columns)
    assert np.allclose(back.optics.defocus_u_A, file.optics.defocus_u_A)
    assert back.poses is not None
    assert file.poses is not None
    assert np.allclose(back.poses.rotations, file.poses.rotations, atol=1e-6)
    assert np.allclose(back.poses.shifts_A, file.poses.shifts_A, atol=1e-5)
