"""MRC stacks and maps: pixel types, byte orders, and headers that tell untruths."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from _star_inputs import SHARED, write_images

from nunatak.core.errors import InputError
from nunatak.io.mrc import map_stack, read_map, read_stack_header, write_map, write_stack


def patch(path: Path, offset: int, values: np.ndarray) -> None:
    """Overwrite header bytes."""
    raw = bytearray(path.read_bytes())
    raw[offset : offset + values.nbytes] = values.tobytes()
    path.write_bytes(raw)


@pytest.mark.parametrize("pixel_type", ["i1", "i2", "u2", "f2", "f4"])
def test_pixel_types(tmp_path: Path, pixel_type: str) -> None:
    images = np.arange(3 * 4 * 4).reshape(3, 4, 4).astype(pixel_type)
    with mrcfile.new(tmp_path / "a.mrcs") as file:
        file.set_data(images)
    header = read_stack_header(tmp_path / "a.mrcs")
    assert np.array_equal(map_stack(header), images)


def test_big_endian(tmp_path: Path) -> None:
    images = write_images(tmp_path / "a.mrcs", 3)
    with mrcfile.open(tmp_path / "a.mrcs") as file:
        header = file.header.copy().view(file.header.dtype.newbyteorder(">")).byteswap()
    (tmp_path / "b.mrcs").write_bytes(header.tobytes() + images.astype(">f4").tobytes())
    found = read_stack_header(tmp_path / "b.mrcs")
    assert found.pixel_size_A == pytest.approx(2.0)
    assert np.array_equal(map_stack(found), images)


def test_truncated_stack_is_refused_with_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    write_images(path, 3)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"a\.mrcs is truncated: 1,792 bytes were expected .* found 1,782"):
        read_stack_header(path)


@pytest.mark.parametrize("content", [b"", b"data_particles\n", b"\xff" * 2000, b"\0" * 2000])
def test_what_is_no_mrc_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mrcs"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no MRC"):
        read_stack_header(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_stack_header(tmp_path / "a.mrcs")


def test_more_images_than_the_header_tells(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    images = write_images(path, 4)
    patch(path, 8, np.int32([3]))
    header = read_stack_header(path)
    assert header.count == 4
    assert any("tells of 3 images but holds 4" in fault for fault in header.faults)
    assert np.array_equal(map_stack(header), images)


def test_extended_header_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    images = write_images(path, 2)
    patch(path, 92, np.int32([1024]))
    header = read_stack_header(path)
    assert header.offset_bytes == 1024
    assert np.array_equal(map_stack(header), images)


def test_missing_mark_stamp_and_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    images = write_images(path, 2)
    patch(path, 208, np.zeros(8, np.uint8))
    patch(path, 40, np.zeros(3, np.float32))
    header = read_stack_header(path)
    assert header.pixel_size_A == 0
    assert len(header.faults) == 2
    assert np.array_equal(map_stack(header), images)


def test_real_stack_with_a_wrong_header() -> None:
    path = SHARED / "particles" / "relion31" / "relion31.mrcs"
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    header = read_stack_header(path)
    assert (header.count, header.height_px, header.width_px) == (5, 256, 256)
    assert map_stack(header).std() == pytest.approx(1.01, abs=0.01)


def test_write_stack_is_read_by_mrcfile(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(3, 4, 4))
    write_stack(tmp_path / "a.mrcs", images, 1.5)
    with mrcfile.open(tmp_path / "a.mrcs") as file:
        assert file.is_image_stack()
        assert file.voxel_size.x == pytest.approx(1.5)
        assert np.array_equal(file.data, images.astype(np.float32))


def test_map_round_trip(tmp_path: Path) -> None:
    density = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    write_map(tmp_path / "a.mrc", density, 1.25, (1.0, 2.0, 3.0))
    found, pixel_size_A, origin_A = read_map(tmp_path / "a.mrc")
    assert np.array_equal(found, density)
    assert pixel_size_A == pytest.approx(1.25)
    assert origin_A == (1.0, 2.0, 3.0)
    assert mrcfile.validate(str(tmp_path / "a.mrc"))


def test_map_with_other_axis_order(tmp_path: Path) -> None:
    density = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    write_map(tmp_path / "a.mrc", density.transpose(2, 0, 1), 1.0)
    # The file's sections, rows and columns are now x, z and y.
    patch(tmp_path / "a.mrc", 64, np.int32([2, 3, 1]))
    assert np.array_equal(read_map(tmp_path / "a.mrc")[0], density)


def test_zipped_map(tmp_path: Path) -> None:
    write_map(tmp_path / "a.mrc", np.ones((3, 3, 3)), 1.0)
    with (tmp_path / "a.mrc").open("rb") as plain, gzip.open(tmp_path / "a.mrc.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    assert np.array_equal(read_map(tmp_path / "a.mrc.gz")[0], np.ones((3, 3, 3)))


def test_bad_maps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write_map(path, np.ones((3, 3, 3)), 1.0)
    patch(path, 40, np.float32([3, 3, 6]))
    with pytest.raises(InputError, match="not cubes"):
        read_map(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="no complete MRC map"):
        read_map(path)
    path.write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as an MRC map"):
        read_map(path)
