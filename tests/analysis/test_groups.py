"""Coordinates, clusters, landscapes of maps, regions and associations."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_latents import Motion, posteriors

from nunatak.analysis.association import associate
from nunatak.analysis.clusters import kmeans_clusters, mixture_clusters
from nunatak.analysis.coordinates import principal_coordinates
from nunatak.analysis.embedding import umap_embedding
from nunatak.analysis.regions import inside_polygon
from nunatak.analysis.sampling import spread_rows
from nunatak.analysis.volume_space import block_occupancies, composition_states, volume_space
from nunatak.core.errors import InputError

GENERATOR = np.random.default_rng(0)


def three_groups(count: int = 900) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % 3
    return np.random.default_rng(1).normal(size=(count, 3)) + 8 * np.eye(3)[labels], labels


def test_coordinates_do_not_depend_on_the_gauge() -> None:
    found = posteriors(Motion((1.0, 0.3, 1.0), 0.7), 2000, 0.3, 0)
    change = np.random.default_rng(4).normal(size=(4, 4))
    plain = principal_coordinates(found.means, found.covariances.mean(0))
    other_means = found.means @ change.T + 3
    other = principal_coordinates(other_means, change @ found.covariances.mean(0) @ change.T)
    assert np.allclose(plain.of(found.means), other.of(other_means), atol=1e-6)
    assert plain.in_noise_units
    mean = plain.covariances(found.covariances).mean(0)
    assert np.allclose(mean, np.eye(4), atol=1e-8)
    assert plain.informed < 4
    assert np.allclose(plain.latents(plain.of(found.means)), found.means)
    moving = np.corrcoef(plain.of(found.means)[:, 0], found.t)[0, 1]
    assert abs(moving) > 0.9


def test_without_covariances_they_are_principal_components() -> None:
    latents = GENERATOR.normal(size=(500, 3)) * [1, 5, 2]
    frame = principal_coordinates(latents)
    assert np.allclose(frame.variances, np.sort(np.linalg.eigvalsh(np.cov(latents.T, bias=True)))[::-1])
    assert frame.informed == 3
    assert not frame.in_noise_units


@pytest.mark.parametrize("kind", ["kmeans", "mixture"])
def test_groups_are_found(kind: str) -> None:
    points, labels = three_groups()
    if kind == "kmeans":
        found = kmeans_clusters(points, 3, 0)
    else:
        found, count = mixture_clusters(points, 0, 0)
        assert count == 3
    pairs = {(a, b) for a, b in zip(found.labels.tolist(), labels.tolist(), strict=True)}
    assert len(pairs) == 3
    assert found.sizes.tolist() == [300] * 3
    assert (np.diff(found.centres[:, 0]) > 0).all()
    assert (found.labels[found.representatives] == [0, 1, 2]).all()
    again = kmeans_clusters(points, 3, 0) if kind == "kmeans" else mixture_clusters(points, 0, 0)[0]
    assert (again.labels == found.labels).all()


def test_more_clusters_than_particles_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be made"):
        kmeans_clusters(np.zeros((3, 2)), 4, 0)


def test_umap_keeps_groups_and_places_the_rest_among_them() -> None:
    points, labels = three_groups(300)
    laid = umap_embedding(points, 0, fitted=150)
    assert laid.shape == (300, 2)
    centres = np.stack([laid[labels == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(laid[:, None] - centres, axis=2).argmin(1)
    assert (nearest == labels).mean() > 0.98


def test_a_landscape_of_maps_and_its_blocks() -> None:
    box = 12
    masks = np.zeros((2, box, box, box), bool)
    masks[0, 2:5, 2:5, 2:5], masks[1, 7:10, 7:10, 7:10] = True, True
    maps = 0.02 * GENERATOR.normal(size=(9, box, box, box))
    present = np.array([[1, 0], [1, 1], [0, 1]] * 3)
    for row, here in zip(maps, present, strict=True):
        row[masks[0]] += here[0]
        row[masks[1]] += here[1]
    space = volume_space(maps, 3)
    assert space.fractions[:2].sum() > 0.9
    assert len({(a, tuple(b)) for a, b in zip(space.labels, present.tolist(), strict=True)}) == 3
    rebuilt = space.mean + np.tensordot(space.coordinates, space.components, 1)
    assert np.abs(rebuilt - maps)[:, masks.any(0)].mean() < 0.1
    occupancies = block_occupancies(maps, masks)
    assert np.array_equal(occupancies > 0.5, present == 1)
    states, of_map = composition_states(occupancies)
    assert np.array_equal(states[of_map], present == 1)
    with pytest.raises(InputError, match="empty"):
        block_occupancies(maps, np.zeros((1, box, box, box), bool))
    with pytest.raises(InputError, match="pixel grid"):
        block_occupancies(maps, np.zeros((1, 4, 4, 4), bool))


def test_a_polygon() -> None:
    corners = np.array([[0, 0], [2, 0], [2, 2], [1, 0.5], [0, 2]])
    points = np.array([[0.2, 0.5], [1, 1.5], [1.9, 1.5], [3, 1]])
    assert inside_polygon(points, corners).tolist() == [True, False, True, False]
    for wrong in ([[0, 0], [1, 1]], [[0, 0], [1, 1], [np.nan, 0]], [[0, 0, 0]] * 3):
        with pytest.raises(InputError, match="three"):
            inside_polygon(points, np.array(wrong))


def test_associations() -> None:
    points, labels = three_groups(600)
    clusters = kmeans_clusters(points, 3, 0).labels
    known = associate("class", np.array(["apo", "holo", "open"])[labels], points, clusters, 0)
    assert known is not None
    assert (known.kind, known.ari, known.classes) == ("classes", pytest.approx(1), 3)
    assert known.knn > 0.98
    assert known.chance == pytest.approx(1 / 3)
    number = associate("angle", 10 * points[:, 1], points, clusters, 0)
    assert number is not None
    assert number.component == 1
    assert number.correlation == pytest.approx(1)
    chance = associate("noise", GENERATOR.normal(size=600), points, clusters, 0)
    assert chance is not None
    assert abs(chance.knn) < 0.2
    assert associate("constant", np.ones(600), points, clusters, 0) is None
    gaps = associate("holes", np.where(np.arange(600) < 300, np.nan, points[:, 0]), points, clusters, 0)
    assert gaps is not None
    assert gaps.particles == 300


def test_spread_rows_are_even_and_the_same() -> None:
    assert spread_rows(10, 4).tolist() == [0, 3, 6, 9]
    assert spread_rows(3, 10).tolist() == [0, 1, 2]
