"""What a person is told about a particle file before anything runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _particle_inputs import SHARED, blobs, write_particles

from nunatak.particles.inspect import describe, inspect_particles
from nunatak.particles.reading import read_particles


def test_what_was_understood(tmp_path: Path) -> None:
    found = inspect_particles(read_particles(write_particles(tmp_path)))
    assert (found.rows, found.stacks, found.missing_stacks) == (6, 2, ())
    assert found.has_ctf
    assert not found.has_poses
    assert found.defocus_range_A == (8000.0, 9000.0)
    assert found.groups[0].box_px == 8
    assert found.groups[0].amplitude_contrast == 0.1
    text = "\n".join(describe(found))
    for part in ("6 particles in 2 image stacks", "box 8 px, 2 A/px, 300 kV", "defocus 8,000 to 9,000 A"):
        assert part in text
    assert "cannot tell" in text
    assert json.loads(json.dumps(found.to_dict()))["rows"] == 6


def test_missing_stacks_and_bad_pixels_are_told(tmp_path: Path) -> None:
    path = write_particles(tmp_path)
    (tmp_path / "s0.mrcs").unlink()
    found = inspect_particles(read_particles(path, require_images=False))
    assert found.missing_stacks == ("s0.mrcs",)
    assert found.contrast_sign is None
    assert "missing: 1 of 2 stacks (s0.mrcs)" in "\n".join(describe(found))
    images = np.zeros((6, 8, 8), np.float32)
    images[2, 0, 0] = np.nan
    found = inspect_particles(read_particles(write_particles(tmp_path / "nan", images=images)))
    assert found.contrast_sign is None
    assert any("not finite" in sentence for sentence in found.warnings)


def test_file_and_images_disagree_on_the_sign(tmp_path: Path) -> None:
    table = read_particles(write_particles(tmp_path, 100)).table
    assert table is not None
    dark = replace(blobs(100, 0.2, -1), table=replace(table, declared_sign=1))
    found = inspect_particles(dark)
    assert found.contrast_sign == -1
    assert any("protein is bright, the images look as if it were dark" in text for text in found.warnings)
    assert "the file says bright" in "\n".join(describe(found))


def test_images_in_memory_have_no_file() -> None:
    found = inspect_particles(blobs(50, 0.2))
    assert found.kind == "images in memory"
    assert found.contrast_sign == 1
    assert "protein looks bright" in "\n".join(describe(found))


def test_real_particles() -> None:
    path = SHARED / "particles" / "betagal_10061" / "particles_192.star"
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    lines = describe(inspect_particles(read_particles(path), sample=60))
    assert any("protein looks dark" in line for line in lines)
    assert any("101 particles" in line for line in lines)
