"""RELION star files of every version come in with the same meaning, and go out as 3.1."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pytest
import starfile
import torch
from _star_inputs import OPTICS, particle_columns, write_images, write_star

from nunatak.core.errors import InputError
from nunatak.geometry.poses import Poses
from nunatak.geometry.rotations import geodesic_deg, matrices_from_euler, random_rotations
from nunatak.io.particle_file import GivenOptics, ReadOptions
from nunatak.io.relion import pose_columns
from nunatak.io.star import read_star, write_particles_star
from nunatak.optics.ctf import evaluate_ctf


def version_30_columns(count: int) -> dict[str, list]:
    """The same particles as RELION 3.0 wrote them: no optics table, shifts in pixels."""
    columns = particle_columns(count)
    for axis in "XY":
        columns[f"rlnOrigin{axis}"] = [shift / 2.0 for shift in columns.pop(f"rlnOrigin{axis}Angst")]
    del columns["rlnOpticsGroup"]
    settings = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}
    settings |= {"rlnDetectorPixelSize": 5.0, "rlnMagnification": 25000.0}
    return columns | {name: [value] * count for name, value in settings.items()}


def test_version_31(tmp_path: Path) -> None:
    columns = particle_columns(5)
    file = read_star(write_star(tmp_path / "p.star", columns))
    assert len(file) == 5
    assert file.group_pixel_size_A == (2.0,)
    assert file.group_box_px == (8,)
    assert file.group_names == ("grid1",)
    assert file.has_ctf
    assert file.warnings == ()
    assert file.random_subset is not None
    assert file.random_subset.tolist() == [1, 2, 1, 2, 1]
    assert torch.allclose(file.optics.defocus_u_A, torch.tensor(columns["rlnDefocusU"]))
    assert file.poses is not None
    angles = [columns[name] for name in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")]
    wanted = matrices_from_euler(torch.tensor(angles, dtype=torch.float64).T)
    assert float(geodesic_deg(file.poses.rotations, wanted).max()) < 1e-3
    assert torch.allclose(file.poses.shifts_A[:, 0], torch.tensor(columns["rlnOriginXAngst"]))


def test_names_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    file = read_star(write_star(tmp_path / "p.star", particle_columns(3)))
    assert file.rows["rlnMicrographName"].tolist() == ["0000", "0000", "0001"]


def test_version_30_means_the_same(tmp_path: Path) -> None:
    new = read_star(write_star(tmp_path / "new.star", particle_columns(4)))
    old = read_star(write_star(tmp_path / "old.star", version_30_columns(4), None))
    assert old.group_pixel_size_A == pytest.approx((2.0,))
    assert old.poses is not None
    assert new.poses is not None
    assert torch.allclose(old.poses.shifts_A, new.poses.shifts_A, atol=1e-5)
    frequencies = torch.tensor([[0.01, 0.02], [0.05, 0.0]])
    assert torch.allclose(evaluate_ctf(old.optics, frequencies), evaluate_ctf(new.optics, frequencies))


def test_microscope_settings_make_the_groups_of_version_30(tmp_path: Path) -> None:
    columns = version_30_columns(4)
    columns["rlnMagnification"] = [25000.0, 50000.0, 25000.0, 50000.0]
    file = read_star(write_star(tmp_path / "p.star", columns, None))
    assert file.group_pixel_size_A == pytest.approx((2.0, 1.0))
    assert file.optics_group.tolist() == [0, 1, 0, 1]
    write_particles_star(tmp_path / "out.star", file, {})
    assert read_star(tmp_path / "out.star").group_pixel_size_A == pytest.approx((2.0, 1.0))


def test_several_optics_groups_with_gaps_in_their_numbers(tmp_path: Path) -> None:
    optics = {name: [*values, *values] for name, values in OPTICS.items()}
    optics |= {"rlnOpticsGroup": [7, 3], "rlnImagePixelSize": [2.0, 1.5], "rlnImageSize": [8, 12]}
    optics |= {"rlnOpticsGroupName": ["a", "b"], "rlnVoltage": [300.0, 200.0]}
    columns = particle_columns(3) | {"rlnOpticsGroup": [3, 7, 3]}
    file = read_star(write_star(tmp_path / "p.star", columns, optics))
    assert file.optics_group.tolist() == [1, 0, 1]
    assert file.group_box_px == (8, 12)
    assert file.optics.voltage_kV.tolist() == [200.0, 300.0, 200.0]


def test_group_without_definition_is_refused(tmp_path: Path) -> None:
    columns = particle_columns(3) | {"rlnOpticsGroup": [1, 1, 2]}
    with pytest.raises(InputError, match=r"row 3\) are in optics group 2, which the optics table does not"):
        read_star(write_star(tmp_path / "p.star", columns))


def test_gzipped(tmp_path: Path) -> None:
    path = write_star(tmp_path / "p.star", particle_columns(3))
    (tmp_path / "p.star.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(read_star(tmp_path / "p.star.gz")) == 3
    (tmp_path / "q.star.gz").write_bytes(b"not zipped")
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_star(tmp_path / "q.star.gz")


def test_pixel_size_of_the_stack_where_the_file_has_none(tmp_path: Path) -> None:
    optics = {name: values for name, values in OPTICS.items() if name != "rlnImagePixelSize"}
    path = write_star(tmp_path / "p.star", particle_columns(2), optics)
    with pytest.raises(InputError, match="no pixel size"):
        read_star(path)
    assert read_star(path, ReadOptions(pixel_size_A=3.0)).group_pixel_size_A == (3.0,)
    write_images(tmp_path / "stack.mrcs", 2, pixel_size_A=1.5)
    file = read_star(path)
    assert file.group_pixel_size_A == pytest.approx((1.5,))
    assert "stack's header" in file.warnings[0]


def test_no_ctf_columns(tmp_path: Path) -> None:
    columns = particle_columns(3)
    del columns["rlnDefocusU"]
    file = read_star(write_star(tmp_path / "p.star", columns))
    assert not file.has_ctf
    assert file.ctf_missing == ("rlnDefocusU",)
    values = evaluate_ctf(file.optics, torch.tensor([[0.0, 0.0], [0.1, 0.2]]))
    assert torch.allclose(values, torch.ones(3, 2))
    given = read_star(tmp_path / "p.star", ReadOptions(optics=GivenOptics(defocus_u_A=9000.0)))
    assert given.has_ctf
    assert given.optics.defocus_u_A.tolist() == given.optics.defocus_v_A.tolist() == [9000.0] * 3


def test_ctf_is_ignored_on_demand(tmp_path: Path) -> None:
    path = write_star(tmp_path / "p.star", particle_columns(2))
    file = read_star(path, ReadOptions(no_ctf=True))
    assert not file.has_ctf
    assert torch.allclose(evaluate_ctf(file.optics, torch.tensor([[0.1, 0.0]])), torch.ones(2, 1))


def test_optional_columns_are_defaulted_with_a_warning(tmp_path: Path) -> None:
    optics = {name: values for name, values in OPTICS.items() if name != "rlnAmplitudeContrast"}
    columns = particle_columns(2)
    del columns["rlnOriginXAngst"], columns["rlnPhaseShift"]
    file = read_star(write_star(tmp_path / "p.star", columns, optics))
    assert torch.allclose(file.optics.amplitude_contrast, torch.tensor(0.1))
    assert any("rlnAmplitudeContrast" in sentence for sentence in file.warnings)
    assert any("no shift along X" in sentence for sentence in file.warnings)
    assert file.poses is not None
    assert file.poses.shifts_A[:, 0].tolist() == [0.0, 0.0]


def test_given_optics_win_and_say_so(tmp_path: Path) -> None:
    path = write_star(tmp_path / "p.star", particle_columns(2))
    file = read_star(path, ReadOptions(optics=GivenOptics(voltage_kV=200.0)))
    assert file.optics.voltage_kV.tolist() == [200.0, 200.0]
    assert "replaced by the 200" in file.warnings[0]


def test_aberrations_are_reported_and_kept(tmp_path: Path) -> None:
    optics = OPTICS | {"rlnBeamTiltX": [0.3], "rlnMagMat00": [1.0], "rlnOddZernike": ["[0.1,0.2]"]}
    columns = particle_columns(2) | {"rlnCtfBfactor": [0.0, 0.0]}
    file = read_star(write_star(tmp_path / "p.star", columns, optics))
    assert file.unused_columns == ("rlnBeamTiltX", "rlnOddZernike")
    assert any("rlnBeamTiltX, rlnOddZernike" in sentence for sentence in file.warnings)
    write_particles_star(tmp_path / "out.star", file, {})
    written = starfile.read(tmp_path / "out.star")["optics"]
    assert written["rlnOddZernike"].tolist() == ["[0.1,0.2]"]


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "stack.mrcs", 6)
    columns = particle_columns(6)
    columns["rlnImageName"] = columns["rlnImageName"][::-1]
    file = read_star(write_star(tmp_path / "in" / "p.star", columns))
    write_particles_star(tmp_path / "run" / "particles.star", file, {"nunatakJunk": np.linspace(0, 1, 6)})
    back = read_star(tmp_path / "run" / "particles.star")
    assert list(back.rows.columns) == [*file.rows.columns, "nunatakJunk"]
    for name in file.rows.columns:
        if name != "rlnImageName":
            assert back.rows[name].tolist() == file.rows[name].tolist(), name
    assert back.locations.stack_paths == (tmp_path / "in" / "stack.mrcs",)
    assert back.locations.slice_of_row.tolist() == [5, 4, 3, 2, 1, 0]
    before_at = [name.split("@")[0] for name in back.rows["rlnImageName"]]
    assert before_at == [name.split("@")[0] for name in columns["rlnImageName"]]
    write_particles_star(tmp_path / "run" / "same.star", file, {}, keep_names=True)
    assert read_star(tmp_path / "run" / "same.star").rows["rlnImageName"].tolist() == columns["rlnImageName"]


def test_new_poses_replace_the_old(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    poses = Poses(random_rotations(4, generator), torch.randn(4, 2, generator=generator))
    for name, columns, optics in (
        ("new.star", particle_columns(4), OPTICS),
        ("old.star", version_30_columns(4), None),
    ):
        file = read_star(write_star(tmp_path / name, columns, optics))
        write_particles_star(tmp_path / "out.star", file, pose_columns(poses))
        back = read_star(tmp_path / "out.star")
        assert back.poses is not None
        assert float(geodesic_deg(back.poses.rotations, poses.rotations).max()) < 1e-3
        assert torch.allclose(back.poses.shifts_A, poses.shifts_A, atol=1e-5)
        assert back.rows["rlnOpticsGroup"].tolist() == [1] * 4
    # The pixel column of 3.0 must not contradict the new one in angstrom.
    in_px = torch.tensor(back.rows["rlnOriginX"].to_numpy(copy=True))
    assert torch.allclose(2.0 * in_px, poses.shifts_A[:, 0].double(), atol=1e-5)


def test_subset_keeps_rows_together(tmp_path: Path) -> None:
    columns = particle_columns(4) | {"rlnImageName": ["1@a.mrcs", "1@b.mrcs", "2@a.mrcs", "3@c.mrcs"]}
    file = read_star(write_star(tmp_path / "p.star", columns)).subset(np.array([3, 0]))
    assert file.rows["rlnImageName"].tolist() == ["3@c.mrcs", "1@a.mrcs"]
    assert sorted(file.locations.stack_names) == ["a.mrcs", "c.mrcs"]
    assert file.locations.slice_of_row.tolist() == [2, 0]
    assert file.optics.defocus_u_A[1] == np.float32(columns["rlnDefocusU"][0])


def test_added_column_of_another_length_is_refused(tmp_path: Path) -> None:
    file = read_star(write_star(tmp_path / "p.star", particle_columns(3)))
    with pytest.raises(InputError, match="nunatakJunk has 2 values for 3 particles"):
        write_particles_star(tmp_path / "out.star", file, {"nunatakJunk": np.zeros(2)})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "no particle file"),
        ("data_\nloop_\n_rlnImageName #1\n", "is empty"),
        (
            "data_particles\n\nloop_\n_rlnDefocusU #1\n1.0\n",
            "rlnImageName was expected, found data_particles",
        ),
        (
            "data_\nloop_\n_rlnImageName\n_rlnDefocusU\n1@a.mrcs 1.0\n2@a.mrcs 1 2 3 4\n",
            "no readable star file",
        ),
    ],
)
def test_what_is_no_particle_file_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "p.star").write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_star(tmp_path / "p.star")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("rlnDefocusU", "nan", r"rlnDefocusU of 1 particles \(first: row 2\) is not a finite number"),
        ("rlnOriginZAngst", 0.0, "subtomograms"),
        ("rlnCtfDataArePhaseFlipped", 1, "phase-flipped"),
    ],
)
def test_unsupported_rows_are_refused(tmp_path: Path, name: str, value: object, sentence: str) -> None:
    columns = particle_columns(2)
    columns[name] = [columns.get(name, [0])[0], value]
    with pytest.raises(InputError, match=sentence):
        read_star(write_star(tmp_path / "p.star", columns))


def test_impossible_optics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rlnVoltage in kV"):
        read_star(write_star(tmp_path / "p.star", particle_columns(2), OPTICS | {"rlnVoltage": [300000.0]}))
    with pytest.raises(InputError, match="rlnAmplitudeContrast between 0 and 1"):
        read_star(
            write_star(tmp_path / "p.star", particle_columns(2), OPTICS | {"rlnAmplitudeContrast": [7.0]})
        )


def test_hundred_thousand_rows_are_written_in_seconds(tmp_path: Path) -> None:
    """A tenth of them here; the cost per row is what counts."""
    generator = np.random.default_rng(0)
    columns = particle_columns(10_000) | {
        f"nunatakExtra{chr(97 + i)}": generator.normal(size=10_000) for i in range(15)
    }
    file = read_star(write_star(tmp_path / "p.star", columns))
    start = time.perf_counter()
    write_particles_star(tmp_path / "out.star", file, {})
    assert time.perf_counter() - start < 3
