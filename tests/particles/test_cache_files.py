"""Samples on the disk are those in memory; a cache that was stopped or damaged is mended, not believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nunatak.core.errors import InputError, RunError
from nunatak.io.ledger import add_line, read_lines
from nunatak.io.row_file import RowFile
from nunatak.particles.cache import CachePlan, ImageCache, Tiles, build_cache, cut_at_multiples
from nunatak.particles.cache_files import CachePlace
from nunatak.particles.dataset import MemoryImages, Particles
from nunatak.particles.stored import StoredRows
from nunatak.reconstruct.consensus import ConsensusConfig, PolarImages
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles

CIRCLE_PX = 8.0
TILES = Tiles(ingest=16)


@pytest.fixture(scope="module")
def particles() -> Particles:
    given, _ = simulate_particles(SimulationConfig(particles=50, box_px=20, snr=1.0, seed=3))
    pixels = given.images.read(np.arange(50))
    pixels[7] = 1.0
    return replace(given, images=MemoryImages(pixels))


class Counted:
    """Images that tell how many of them were read."""

    def __init__(self, particles: Particles, stop_after: int = 10**9) -> None:
        self._images, self.read_rows, self._left = particles.images, 0, stop_after

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        self._left -= len(rows)
        if self._left < 0:
            raise KeyboardInterrupt
        self.read_rows += len(rows)
        return self._images.read(rows)

    def signature(self) -> str:
        return self._images.signature()


def on_disk(particles: Particles, folder: Path, precision: str = "float32") -> ImageCache:
    plan = CachePlan(tiles=TILES, place=CachePlace(folder, precision))
    return build_cache(particles, 1, CIRCLE_PX, plan)


def same(stored: ImageCache, memory: ImageCache) -> bool:
    every = slice(None)
    return (
        torch.equal(stored.samples[every], memory.samples)
        and torch.equal(stored.transfer[every], memory.transfer)
        and torch.equal(stored.background_power, memory.background_power)
        and torch.equal(stored.flat_images, memory.flat_images)
        and torch.equal(stored.image_power(), memory.image_power())
    )


def test_the_disk_gives_back_what_memory_holds_to_the_bit(particles: Particles, tmp_path: Path) -> None:
    memory = build_cache(particles, 1, CIRCLE_PX, CachePlan(tiles=TILES))
    stored = on_disk(particles, tmp_path / "cache")
    assert memory.flat_images.tolist() == [7]
    assert same(stored, memory)
    rows = torch.tensor([40, 3, 4, 5, 49, 3])
    for picked in (rows, torch.arange(50) % 3 == 0, slice(5, 9)):
        for count in (1, 17, len(memory.plane)):
            assert torch.equal(stored.samples[picked, :count], memory.samples[picked, :count])
            assert torch.equal(stored.transfer[picked, :count], memory.transfer[picked, :count])
    place = CachePlace(tmp_path / "cache")
    held = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.float32"))
    assert held == place.size_bytes(50, len(memory.plane))


def test_polar_images_of_the_disk_are_those_of_memory(particles: Particles, tmp_path: Path) -> None:
    """Made when they are looked at, or all at once; only the size of a matrix product differs."""
    memory = build_cache(particles, 1, CIRCLE_PX, CachePlan(tiles=TILES))
    stored = on_disk(particles, tmp_path / "cache")
    config = ConsensusConfig(radius_end_px=8, healpix_order=1)
    kept, made = (PolarImages(cache, memory.background_power, config) for cache in (memory, stored))
    assert len(kept) == len(made) == 50
    rows, factor = torch.tensor([40, 3, 49]), torch.linspace(1, 2, 9)
    for radius_px, noise_factor in ((5, None), (8, factor)):
        expected, found = (images.batch(rows, radius_px, noise_factor) for images in (kept, made))
        torch.testing.assert_close(found.samples, expected.samples, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.transfer, expected.transfer, rtol=1e-6, atol=1e-6)


def test_half_precision_errs_far_less_than_the_noise(particles: Particles, tmp_path: Path) -> None:
    """Measured: error 2.1e-4 of the samples' own (rms), 1.2e-7 of the noise's variance; bfloat16: 1.7e-3."""
    memory = build_cache(particles, 1, CIRCLE_PX, CachePlan(tiles=TILES))
    stored = on_disk(particles, tmp_path / "cache", "float16")
    error = stored.samples[:] - memory.samples
    relative = float(error.abs().square().mean().sqrt() / memory.samples.abs().square().mean().sqrt())
    assert 5e-5 < relative < 5e-4
    assert float((stored.transfer[:] - memory.transfer).abs().max()) < 5e-4
    assert stored.samples[:].dtype == torch.complex64
    half = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.float16"))
    assert half == CachePlace(tmp_path).size_bytes(50, len(memory.plane)) // 2


def test_a_cache_that_was_stopped_is_gone_on_with(particles: Particles, tmp_path: Path) -> None:
    stopped = Counted(particles, stop_after=40)
    with pytest.raises(KeyboardInterrupt):
        on_disk(replace(particles, images=stopped), tmp_path)
    later = Counted(particles)
    cache = on_disk(replace(particles, images=later), tmp_path)
    assert (stopped.read_rows, later.read_rows) == (32, 18)
    assert same(cache, build_cache(particles, 1, CIRCLE_PX, CachePlan(tiles=TILES)))
    again = Counted(particles)
    on_disk(replace(particles, images=again), tmp_path)
    assert again.read_rows == 0


def flip_a_bit(folder: Path) -> None:
    path = folder / "samples.float32"
    content = bytearray(path.read_bytes())
    content[20 * len(content) // 50] ^= 1
    path.write_bytes(bytes(content))


def cut(folder: Path) -> None:
    path = folder / "transfer.float32"
    path.write_bytes(path.read_bytes()[:-100])


def half_a_line(folder: Path) -> None:
    path = next(folder.glob("stored-*.jsonl"))
    path.write_text(path.read_text()[:-30])


@pytest.mark.parametrize(("damage", "read"), [(flip_a_bit, 16), (cut, 2), (half_a_line, 2)])
def test_what_is_damaged_is_read_again(particles: Particles, tmp_path: Path, damage, read: int) -> None:
    on_disk(particles, tmp_path)
    damage(tmp_path)
    counted = Counted(particles)
    cache = on_disk(replace(particles, images=counted), tmp_path)
    assert counted.read_rows == read
    assert same(cache, build_cache(particles, 1, CIRCLE_PX, CachePlan(tiles=TILES)))


def test_a_cache_of_other_images_is_made_anew(particles: Particles, tmp_path: Path) -> None:
    on_disk(particles, tmp_path)
    other = Counted(replace(particles, images=MemoryImages(2 + particles.images.read(np.arange(50)))))
    on_disk(replace(particles, images=other), tmp_path)
    assert other.read_rows == 50
    defocused = replace(
        particles, optics=replace(particles.optics, defocus_u_A=particles.optics.defocus_u_A + 1)
    )
    counted = Counted(particles)
    on_disk(replace(defocused, images=counted), tmp_path)
    assert counted.read_rows == 50


def test_samples_too_large_for_half_precision_are_a_sentence(particles: Particles, tmp_path: Path) -> None:
    pixels = np.zeros((50, 20, 20), np.float32)
    pixels[:] = np.random.default_rng(0).normal(size=(20, 20))
    pixels[:, 8:12, 8:12] = 1e6
    with pytest.raises(InputError, match="--cache-precision float32"):
        on_disk(replace(particles, images=MemoryImages(pixels)), tmp_path, "float16")


def test_a_disk_without_room_is_a_sentence(particles: Particles, tmp_path: Path, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("nunatak.particles.cache_files.shutil.disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="make room"):
        on_disk(particles, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_file_that_was_cut_is_a_sentence_when_it_is_read(particles: Particles, tmp_path: Path) -> None:
    cache = on_disk(particles, tmp_path)
    cut(tmp_path)
    with pytest.raises(RunError, match="ends before row 50"):
        cache.transfer[torch.tensor([2, 49])]
    (tmp_path / "samples.float32").unlink()
    with pytest.raises(RunError, match="cannot be read"):
        cache.samples[torch.tensor([2])]


def test_stretches_are_cut_at_the_same_rows_whoever_has_them() -> None:
    assert cut_at_multiples(0, 50, 16) == [(0, 16), (16, 32), (32, 48), (48, 50)]
    assert cut_at_multiples(20, 33, 16) == [(20, 32), (32, 33)]
    assert cut_at_multiples(32, 40, 16) == [(32, 40)]


def test_a_ledger_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert read_lines(path) == []
    add_line(path, {"a": 1})
    path.write_text(path.read_text() + '{"half": ')
    add_line(path, {"b": 2})
    assert read_lines(path) == [{"a": 1}, {"b": 2}]
    assert json.loads(path.read_text().splitlines()[-1]) == {"b": 2}


def test_rows_are_written_in_any_order(tmp_path: Path) -> None:
    file, values = (
        RowFile(tmp_path / "rows", 6, np.dtype("float32")),
        np.arange(24, dtype=np.float32).reshape(4, 6),
    )
    for first in (2, 0):
        assert file.write(first, values[first : first + 2]) == file.checksum(first, 2)
    assert np.array_equal(file.read(np.array([3, 0, 1]), 2), values[[3, 0, 1], :2])
    assert file.checksum(2, 3) is None
    stored = StoredRows(file, 1, 4, is_complex=True)
    assert stored.shape == (3, 3)
    assert torch.equal(torch.cat(list(stored.split(2))).real, torch.from_numpy(values[1:, ::2].copy()))
