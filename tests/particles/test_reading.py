"""A particle file becomes Particles, or one sentence that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile
import torch
from _particle_inputs import SHARED, blobs, write_particles

from nunatak.core.errors import InputError
from nunatak.io.mrc import write_stack
from nunatak.io.particle_file import GivenOptics
from nunatak.io.star import write_particles_star
from nunatak.particles.checks import require_ctf, require_enough, require_poses
from nunatak.particles.dataset import Particles
from nunatak.particles.reading import read_particles


def random_images(count: int = 6, box: int = 8) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, box, box)).astype(np.float32)


def test_rows_in_any_order_over_several_stacks(tmp_path: Path) -> None:
    images = random_images()
    particles = read_particles(write_particles(tmp_path, images=images, stacks=3))
    assert len(particles) == 6
    assert particles.box_px == 8
    assert particles.pixel_size_A == 2.0
    assert particles.warnings == ()
    for rows in ([5, 0, 3, 3, 1], [2], [], list(range(6))):
        assert np.array_equal(particles.images.read(np.array(rows, int)), images[np.array(rows, int)])


def test_stack_that_was_opened_before_can_be_closed_again(tmp_path: Path) -> None:
    images = random_images(300)
    particles = read_particles(write_particles(tmp_path, 300, images=images, stacks=150))
    order = np.random.default_rng(0).permutation(300)
    assert np.array_equal(particles.images.read(order), images[order])


def test_subset_takes_images_rows_and_table_along(tmp_path: Path) -> None:
    images = random_images()
    particles = read_particles(write_particles(tmp_path, images=images))
    some = particles.subset(np.array([4, 1])).subset(torch.tensor([1, 0]))
    assert np.array_equal(some.images.read(np.array([0, 1])), images[[1, 4]])
    assert some.table is not None
    assert some.table.rows["rlnImageName"].tolist() == ["1@s1.mrcs", "3@s0.mrcs"]
    write_particles_star(tmp_path / "some.star", some.table, {})
    back = read_particles(tmp_path / "some.star")
    assert np.array_equal(back.images.read(np.arange(2)), images[[1, 4]])
    assert torch.equal(back.optics.defocus_u_A, particles.optics.defocus_u_A[[1, 4]])


def test_missing_stacks_are_counted_and_named(tmp_path: Path) -> None:
    path = write_particles(tmp_path, stacks=5, count=10)
    for stack in range(4):
        (tmp_path / f"s{stack}.mrcs").rename(tmp_path / f"moved{stack}.mrcs")
    with pytest.raises(
        InputError, match=r"4 of 5 image stacks are missing \(s0.mrcs, s1.mrcs, s2.mrcs, \.\.\.\)"
    ):
        read_particles(path)
    particles = read_particles(path, require_images=False)
    assert particles.images.read(np.array([4, 9])).shape == (2, 8, 8)
    with pytest.raises(InputError, match="missing"):
        particles.images.read(np.array([0]))


def test_datadir_finds_stacks_elsewhere(tmp_path: Path) -> None:
    path = write_particles(tmp_path / "data")
    moved = tmp_path / "p.star"
    path.rename(moved)
    with pytest.raises(InputError, match="--datadir"):
        read_particles(moved)
    assert len(read_particles(moved, tmp_path / "data")) == 6


def test_truncated_stack(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    stack = tmp_path / "s1.mrcs"
    stack.write_bytes(stack.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"s1\.mrcs is truncated"):
        read_particles(path)


def test_stack_with_fewer_images_than_the_star_wants(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    write_stack(tmp_path / "s0.mrcs", random_images(2), 2.0)
    with pytest.raises(InputError, match=r"Row 5 .* image 3 of s0\.mrcs, which has only 2 images"):
        read_particles(path)


def test_box_of_the_star_and_of_the_stack_differ(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    write_stack(tmp_path / "s1.mrcs", random_images(3, 12), 2.0)
    with pytest.raises(
        InputError, match=r"says box 8 px for optics group opticsGroup1, but the images in s1\.mrcs"
    ):
        read_particles(path)


def test_images_that_are_not_square(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    write_stack(tmp_path / "s1.mrcs", random_images()[:, :, :6], 2.0)
    with pytest.raises(InputError, match="6 x 8 px: square ones were expected"):
        read_particles(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_found_on_reading(tmp_path: Path, value: float) -> None:
    images = random_images()
    images[3, 2, 2] = value
    particles = read_particles(write_particles(tmp_path, images=images))
    assert len(particles.images.read(np.array([0, 1, 2, 4, 5]))) == 5
    with pytest.raises(
        InputError, match=r"Particle row 4 \(image 2 of s1\.mrcs\) has 1 pixels that are not finite"
    ):
        particles.images.read(np.arange(6))


def test_huge_but_finite_pixels_pass(tmp_path: Path) -> None:
    images = np.full((6, 8, 8), 3e38, np.float32)
    particles = read_particles(write_particles(tmp_path, images=images))
    assert np.array_equal(particles.images.read(np.arange(6)), images)


def test_header_with_another_pixel_size_is_told(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    write_stack(tmp_path / "s1.mrcs", random_images(3), 1.0)
    assert any("says 1 A per pixel, the particle file 2 A" in text for text in read_particles(path).warnings)


def test_mixed_boxes_are_read_group_by_group(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    tables = starfile.read(path)
    write_stack(tmp_path / "s1.mrcs", random_images(3, 12), 1.5)
    optics = tables["optics"].loc[[0, 0]].assign(rlnOpticsGroup=[1, 2], rlnImageSize=[8, 12])
    tables["optics"] = optics.assign(rlnImagePixelSize=[2.0, 1.5])
    tables["particles"]["rlnOpticsGroup"] = [1, 2] * 3
    starfile.write(tables, path)
    particles = read_particles(path)
    assert particles.group_box_px == (8, 12)
    assert particles.group_pixel_size_A == (2.0, 1.5)
    rows = torch.nonzero(particles.optics_group == 1).flatten().numpy()
    assert particles.images.read(rows).shape == (3, 12, 12)
    with pytest.raises(InputError, match="cannot be read in one batch"):
        particles.images.read(np.arange(6))


def test_bare_stack_and_list_of_stacks(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.mrcs", random_images(3), 2.0)
    write_stack(tmp_path / "b.mrc", random_images(2), 2.0)
    write_stack(tmp_path / "c.mrcs", random_images(2, 12), 1.0)
    particles = read_particles(tmp_path / "a.mrcs")
    assert not particles.has_ctf
    assert np.array_equal(particles.images.read(np.arange(3)), random_images(3))
    optics = GivenOptics(voltage_kV=200, spherical_aberration_mm=2.0, defocus_u_A=15000)
    with_ctf = read_particles(tmp_path / "a.mrcs", pixel_size_A=1.2, optics=optics)
    assert with_ctf.has_ctf
    assert with_ctf.pixel_size_A == 1.2
    (tmp_path / "list.txt").write_text("# my stacks\nc.mrcs\na.mrcs  # good\n\nb.mrc\n")
    listed = read_particles(tmp_path / "list.txt")
    assert listed.optics_group.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert listed.group_box_px == (12, 8)
    assert np.array_equal(listed.images.read(np.array([6, 2])), random_images(2)[[1, 0]])
    (tmp_path / "list.txt").write_text("a.mrcs\nx.mrcs\n")
    with pytest.raises(InputError, match=r"1 of the 2 stacks .* \(x\.mrcs\)"):
        read_particles(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_particles(tmp_path / "list.txt")


def test_file_without_a_telling_name_is_recognised(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    path.rename(tmp_path / "particles")
    assert len(read_particles(tmp_path / "particles")) == 6
    (tmp_path / "s0.mrcs").rename(tmp_path / "s0.st")
    assert len(read_particles(tmp_path / "s0.st")) == 3
    (tmp_path / "x.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match="of no kind that can be read"):
        read_particles(tmp_path / "x.pdf")
    with pytest.raises(InputError, match="does not exist"):
        read_particles(tmp_path / "none.star")
    with pytest.raises(InputError, match="is a folder"):
        read_particles(tmp_path)


def test_jobs_say_what_they_lack(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    particles = read_particles(path)
    require_enough(particles)
    require_ctf(particles)
    with pytest.raises(InputError, match="has no poses"):
        require_poses(particles)
    with pytest.raises(InputError, match=r"p\.star holds 1 particle: at least 2 were expected"):
        require_enough(particles.subset(np.array([0])))
    tables = starfile.read(path)
    tables["particles"] = tables["particles"].drop(columns="rlnDefocusU")
    starfile.write(tables, path)
    with pytest.raises(InputError, match=r"has no CTF \(rlnDefocusU missing\).*--no-ctf"):
        require_ctf(read_particles(path))
    in_memory: Particles = blobs(2, 1.0)
    require_ctf(in_memory)


@pytest.mark.parametrize(
    "name",
    ["simplecryoem/relion_proj_batch.star", "relion31/relion31.star", "tilt_ribosome/sta_testing_bin8.star"],
)
def test_real_particles(name: str) -> None:
    path = SHARED / "particles" / name
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    particles = read_particles(path)
    assert particles.poses is not None
    images = particles.images.read(np.array([4, 0]))
    assert images.shape == (2, particles.box_px, particles.box_px)
    assert images.std() > 0
