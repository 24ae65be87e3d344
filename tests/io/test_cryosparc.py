"""cryoSPARC's poses, shifts and angles mean what cryoDRGN and pyem say they mean."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from _star_inputs import SHARED

from nunatak.core.errors import InputError
from nunatak.geometry.poses import Poses
from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.io.cryosparc import read_cryosparc, write_particles_cs
from nunatak.io.particle_file import ReadOptions
from nunatak.io.relion import pose_columns
from nunatak.io.star import read_star, write_particles_star

CRYOPICLS = SHARED / "metadata" / "cryopicls"
CRYODRGN = SHARED / "metadata" / "cryodrgn_tests"


def shared(path: Path) -> Path:
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    return path


class ArraysOnly(pickle.Unpickler):
    """Loads arrays of numpy and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def write_cs(path: Path, count: int = 4, with_ctf: bool = True, **replaced: np.ndarray) -> np.ndarray:
    """A small .cs file."""
    types = [("uid", "<u8"), ("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,))]
    types += [("blob/psize_A", "<f4"), ("blob/sign", "<f4")]
    if with_ctf:
        types += [("ctf/exp_group_id", "<u4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4")]
        types += [("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4")]
        types += [("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4")]
    fields = np.zeros(count, types)
    values = {"uid": np.arange(count) + 100, "blob/path": b">J1/a.mrcs", "blob/idx": np.arange(count)}
    values |= {"blob/shape": 8, "blob/psize_A": 1.7138, "blob/sign": -1}
    if with_ctf:
        values |= {"ctf/accel_kv": 200, "ctf/cs_mm": 2.7, "ctf/amp_contrast": 0.07, "ctf/df1_A": 12000}
        values |= {"ctf/df2_A": 11000, "ctf/df_angle_rad": np.pi / 6, "ctf/phase_shift_rad": np.pi / 2}
    for name, value in (values | replaced).items():
        fields[name] = value
    with path.open("wb") as handle:
        np.save(handle, fields)
    return fields


def test_agrees_with_pyem() -> None:
    ours = read_cryosparc(shared(CRYOPICLS / "cryosparc_consensus" / "cryosparc_P2_J744_005_particles.cs"))
    theirs = read_star(shared(CRYOPICLS / "cryosparc_P2_J744_005_particles_pyem.star.gz"))
    assert ours.poses is not None
    assert theirs.poses is not None
    assert float(geodesic_deg(ours.poses.rotations, theirs.poses.rotations).max()) < 1e-3
    assert torch.allclose(ours.poses.shifts_A, theirs.poses.shifts_A, atol=1e-4)
    assert torch.allclose(ours.optics.defocus_v_A, theirs.optics.defocus_v_A)
    assert torch.allclose(ours.optics.astigmatism_angle_deg, theirs.optics.astigmatism_angle_deg, atol=1e-3)
    assert np.array_equal(ours.random_subset, theirs.random_subset)
    assert np.array_equal(ours.locations.slice_of_row, theirs.locations.slice_of_row)
    assert ours.group_pixel_size_A == pytest.approx(theirs.group_pixel_size_A)
    assert ours.declared_sign == -1


def test_agrees_with_cryodrgn() -> None:
    file = read_cryosparc(shared(CRYODRGN / "cryosparc_P12_J24_001_particles.cs"))
    with (CRYODRGN / "pose.cs.pkl").open("rb") as handle:
        rotations, shifts_in_boxes = ArraysOnly(handle).load()
    assert file.poses is not None
    assert np.allclose(file.poses.rotations, rotations, atol=1e-5)
    assert np.allclose(file.poses.shifts_A, shifts_in_boxes * 180 * 2.95, atol=1e-2)


def test_passthrough_is_found_and_joined_by_uid() -> None:
    folder = shared(CRYOPICLS / "cryosparc_autorefine")
    file = read_cryosparc(folder / "cryopicls_cluster000_particles.cs")
    group = read_cryosparc(folder / "cryopicls_cluster000_particles.csg")
    assert "location/micrograph_path" in file.cryosparc_rows.dtype.names
    assert np.array_equal(file.cryosparc_rows, group.cryosparc_rows)
    # Named after the job rather than listed in a .csg:
    older = read_cryosparc(CRYOPICLS / "cryosparc_consensus" / "cryosparc_P2_J744_000_particles.cs")
    assert "rlnMicrographName" in older.rows
    assert older.rows["rlnCoordinateX"].between(0, 4096).all()


def test_passthrough_in_another_order(tmp_path: Path) -> None:
    write_cs(tmp_path / "main.cs", with_ctf=False)
    more = write_cs(tmp_path / "more.cs", 6, **{"ctf/df1_A": np.arange(6) * 1000 + 9000})
    with (tmp_path / "more.cs").open("wb") as handle:
        np.save(handle, more[::-1])
    file = read_cryosparc(tmp_path / "main.cs", ReadOptions(passthrough=tmp_path / "more.cs"))
    assert file.optics.defocus_u_A.tolist() == [9000.0, 10000.0, 11000.0, 12000.0]
    write_cs(tmp_path / "few.cs", 2)
    with pytest.raises(InputError, match=r"few\.cs lacks 2 of the 4 particles"):
        read_cryosparc(tmp_path / "main.cs", ReadOptions(passthrough=tmp_path / "few.cs"))


def test_units_and_groups(tmp_path: Path) -> None:
    write_cs(tmp_path / "p.cs", **{"ctf/exp_group_id": [3, 3, 1, 1], "blob/psize_A": [1, 1, 2, 2]})
    file = read_cryosparc(tmp_path / "p.cs")
    assert file.group_pixel_size_A == (1.0, 2.0)
    assert file.optics_group.tolist() == [0, 0, 1, 1]
    assert file.optics.astigmatism_angle_deg.tolist() == pytest.approx([30.0] * 4)
    assert file.optics.phase_shift_deg.tolist() == pytest.approx([90.0] * 4)
    assert file.rows["rlnImageName"].tolist()[1] == "000002@J1/a.mrcs"
    assert file.poses is None


def test_shift_counts_pixels_of_its_own_size(tmp_path: Path) -> None:
    fields = write_cs(tmp_path / "p.cs")
    types = [*fields.dtype.descr, ("alignments3D/pose", "<f4", (3,)), ("alignments3D/shift", "<f4", (2,))]
    longer = np.zeros(4, [*types, ("alignments3D/psize_A", "<f4")])
    for name in fields.dtype.names:
        longer[name] = fields[name]
    longer["alignments3D/shift"], longer["alignments3D/psize_A"] = (1, -2), 3.0
    with (tmp_path / "p.cs").open("wb") as handle:
        np.save(handle, longer)
    file = read_cryosparc(tmp_path / "p.cs")
    assert file.poses is not None
    assert file.poses.shifts_A[0].tolist() == [3.0, -6.0]


def test_round_trip_with_new_poses(tmp_path: Path) -> None:
    fields = write_cs(tmp_path / "p.cs")
    file = read_cryosparc(tmp_path / "p.cs")
    generator = torch.Generator().manual_seed(0)
    poses = Poses(random_rotations(4, generator), torch.randn(4, 2, generator=generator))
    added = pose_columns(poses) | {"rlnRandomSubset": np.array([1, 2, 1, 2]), "nunatakJunk": np.zeros(4)}
    write_particles_cs(tmp_path / "run" / "particles.cs", file, added)
    back = read_cryosparc(tmp_path / "run" / "particles.csg")
    assert back.poses is not None
    assert float(geodesic_deg(back.poses.rotations, poses.rotations).max()) < 1e-2
    assert torch.allclose(back.poses.shifts_A, poses.shifts_A, atol=1e-4)
    for name in fields.dtype.names:
        assert np.array_equal(back.cryosparc_rows[name], fields[name]), name
    assert back.cryosparc_rows["alignments3D/split"].tolist() == [0, 1, 0, 1]
    assert "nunatak/junk" in back.cryosparc_rows.dtype.names
    again = file.subset(np.array([2, 0]))
    write_particles_cs(tmp_path / "two.cs", again, {})
    assert read_cryosparc(tmp_path / "two.cs").cryosparc_rows["uid"].tolist() == [102, 100]


def test_cryosparc_goes_out_as_star(tmp_path: Path) -> None:
    write_cs(tmp_path / "p.cs")
    file = read_cryosparc(tmp_path / "p.cs")
    write_particles_star(tmp_path / "p.star", file, {})
    back = read_star(tmp_path / "p.star")
    assert torch.allclose(back.optics.astigmatism_angle_deg, file.optics.astigmatism_angle_deg)
    assert back.optics_rows["rlnAmplitudeContrast"].tolist() == [0.07]
    with pytest.raises(InputError, match="is no cryoSPARC file"):
        write_particles_cs(tmp_path / "q.cs", back, {})


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.cs"
    path.write_bytes(b"\x95CSDAT\x01\x00\x00\x00")
    with pytest.raises(InputError, match="streaming format"):
        read_cryosparc(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"no readable \.cs file"):
        read_cryosparc(path)
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3, [("uid", "<u8"), ("component_0/path", "S9")]))
    with pytest.raises(InputError, match="no fields blob/path"):
        read_cryosparc(path)
    write_cs(path, 0)
    with pytest.raises(InputError, match="is empty"):
        read_cryosparc(path)
    with pytest.raises(InputError, match="does not exist"):
        read_cryosparc(tmp_path / "none.cs")


def test_no_ctf(tmp_path: Path) -> None:
    write_cs(tmp_path / "p.cs", with_ctf=False)
    file = read_cryosparc(tmp_path / "p.cs")
    assert not file.has_ctf
    assert set(file.ctf_missing) == {"rlnDefocusU", "rlnVoltage", "rlnSphericalAberration"}
