"""The built-in molecule, hinges, assemblies, and what is refused."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from nunatak.core.errors import InputError
from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.simulate.config import SimulationConfig, demo_config
from nunatak.simulate.motions import default_assembly, find_hinge, split_blocks, swing
from nunatak.simulate.phantoms import ARM_CHAIN, builtin_molecule
from nunatak.simulate.states import build_states
from nunatak.simulate.structures import density, read_atomic_model

SHARED_STRUCTURES = Path(__file__).parents[3] / "shared" / "data" / "structures"


def rotated_overlap(fixed, moving, rotations):
    """(n,) correlation of one map with rotations of another about the origin voxel."""
    box = fixed.shape[0]
    axis = (torch.arange(box) - box // 2).float()
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).reshape(-1, 3)
    overlaps = []
    for rotation in rotations:
        place = (points @ rotation + box // 2) * 2 / (box - 1) - 1
        turned = torch.nn.functional.grid_sample(
            moving[None, None], place.view(1, box, box, box, 3), align_corners=True
        )
        overlaps.append(torch.corrcoef(torch.stack([turned.flatten(), fixed.flatten()]))[0, 1])
    return torch.stack(overlaps)


def test_the_builtin_molecule_is_asymmetric_and_chiral():
    volume = density(builtin_molecule(), 20, 16.0, 40.0)
    rotations = random_rotations(3000, torch.Generator().manual_seed(0))
    identity = torch.eye(3).expand_as(rotations)
    turned = rotations[geodesic_deg(rotations, identity) > 40]
    mirror = volume.flip(0).roll(1, 0)  # z -> -z about voxel box // 2
    assert rotated_overlap(volume, volume, torch.eye(3)[None])[0] > 0.999
    assert rotated_overlap(volume, volume, turned).max() < 0.9
    assert rotated_overlap(volume, mirror, rotations).max() < 0.92


def test_the_builtin_molecule_is_the_same_each_time_and_of_the_size_of_a_complex():
    molecule = builtin_molecule()
    builtin_molecule.cache_clear()
    again = builtin_molecule()
    assert np.array_equal(molecule.positions_A, again.positions_A)
    assert np.allclose(molecule.centre_of_mass_A, 0, atol=1e-9)
    extent = np.ptp(molecule.positions_A, axis=0)
    assert 180 < extent.max() < 350
    assert molecule.chain_names == list("ABCDEF")
    assert not np.array_equal(molecule.positions_A[:100], builtin_molecule(seed=8).positions_A[:100])


def test_a_hinge_turns_the_arm_about_its_axis_and_nothing_else():
    molecule = builtin_molecule()
    hinge = find_hinge(molecule, (ARM_CHAIN,))
    there = swing(molecule, hinge, 25.0)
    back = swing(there, hinge, -25.0)
    assert np.allclose(back.positions_A, molecule.positions_A)
    assert np.array_equal(there.positions_A[~hinge.arm], molecule.positions_A[~hinge.arm])
    along = (there.positions_A - molecule.positions_A) @ hinge.axis
    assert np.abs(along).max() < 1e-9
    moved = np.linalg.norm(there.positions_A - molecule.positions_A, axis=1)
    assert moved.max() > 40
    near_hinge = np.linalg.norm(molecule.positions_A - hinge.pivot_A, axis=1) < 10
    assert moved[near_hinge].max() < 5


def test_without_a_selection_the_far_domain_is_found():
    molecule = builtin_molecule()
    arm = find_hinge(molecule).arm
    assert set(molecule.chains[arm]) == {ARM_CHAIN}
    one_chain = molecule.subset(molecule.chains == "A")
    part = find_hinge(one_chain).arm.mean()
    assert 0 < part < 0.5


def test_residue_ranges_and_pivots_select():
    molecule = builtin_molecule()
    hinge = find_hinge(molecule, ("F:100-400", "E"), "F:100")
    chains, residues = molecule.chains[hinge.arm], molecule.residues[hinge.arm]
    assert set(chains) == {"E", "F"}
    assert residues[chains == "F"].min() == 100
    near = (molecule.chains == "F") & (np.abs(molecule.residues - 100) <= 3)
    assert np.allclose(hinge.pivot_A, molecule.positions_A[near].mean(0))


def test_an_assembly_begins_with_the_core_and_ends_with_all():
    assert default_assembly(["a", "b", "c"], 3) == [("a",), ("a", "b"), ("a", "b", "c")]
    assert default_assembly(["a", "b", "c"], 4)[3] == ("a", "c")
    assert default_assembly(["a", "b", "c"], 2) == [("a",), ("a", "b", "c")]
    blocks = split_blocks(builtin_molecule(), 3)
    assert len(blocks) == 3
    weights = [block.weights.sum() for block in blocks.values()]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(builtin_molecule().weights.sum())


def test_states_of_an_assembly_share_one_frame():
    states = build_states(SimulationConfig(motion="assembly", assembly_states=("A+B", "A+B+C"), box_px=32))
    difference = states.volumes[1] - states.volumes[0]
    assert difference.min() > -1e-4  # a block was added and nothing moved
    assert states.coordinates.tolist() == [0, 1]


def test_a_pdb_file_and_maps_give_states(tmp_path):
    lines = [
        f"ATOM  {i + 1:5d}  CA  ALA {'AB'[i % 2]}{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 10.00"
        for i, (x, y, z) in enumerate(np.random.default_rng(0).normal(0, 10, (60, 3)))
    ]
    path = tmp_path / "model.pdb"
    path.write_text("\n".join([*lines, "END", ""]))
    model = read_atomic_model(path)
    assert len(model) == 60
    assert model.chain_names == ["A", "B"]
    states = build_states(SimulationConfig(structure=(path,), box_px=32, pixel_size_A=3.0))
    assert states.volumes.shape == (1, 32, 32, 32)
    map_path = tmp_path / "map.mrc"
    with mrcfile.new(map_path) as file:
        file.set_data(states.volumes[0].numpy())
        file.voxel_size = 3.0
    from_maps = build_states(SimulationConfig(structure=(map_path, map_path), box_px=32))
    assert from_maps.pixel_size_A == pytest.approx(3.0)
    assert torch.allclose(from_maps.volumes[1], states.volumes[0], atol=2e-3 * float(states.volumes.max()))


@pytest.mark.skipif(not SHARED_STRUCTURES.is_dir(), reason="needs ../shared/data/structures")
def test_a_real_antibody_swings_by_default():
    path = SHARED_STRUCTURES / "igg" / "1igt.pdb.gz"
    states = build_states(SimulationConfig(structure=(path,), motion="hinge", states=3, box_px=32))
    first, last = states.volumes[0].flatten(), states.volumes[2].flatten()
    assert 0.3 < float(torch.corrcoef(torch.stack([first, last]))[0, 1]) < 0.98


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"structure": ("nowhere.pdb",)}, "there is none"),
        ({"structure": ("nowhere.mrc",)}, "does not exist"),
        ({"structure": ("photo.png",)}, "photo.png is none of them"),
        ({"structure": ("nowhere.mrc",), "motion": "hinge"}, "Maps can only"),
        ({"pixel_size_A": 1.0}, "should fit into the box"),
        ({"motion": "hinge", "hinge_chains": ("Z",)}, "has the chains A, B"),
        ({"motion": "hinge", "hinge_chains": ("A:1",)}, "should be a chain"),
        ({"motion": "hinge", "hinge_chains": tuple("ABCDEF")}, "should move a part"),
        ({"motion": "hinge", "hinge_pivot": "F"}, "should be a residue"),
        ({"motion": "assembly", "assembly_states": ("A+Z",)}, "names Z"),
        ({"motion": "assembly", "blocks": 2, "states": 9}, "can be in 2 states"),
        ({"states": 3}, "leave it out"),
    ],
)
def test_bad_input_is_one_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        build_states(SimulationConfig(box_px=32, **settings))
    assert str(caught.value).count(". ") == 0


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="boxes"):
        SimulationConfig(boxes=3)
    assert demo_config(seed=5).seed == 5
