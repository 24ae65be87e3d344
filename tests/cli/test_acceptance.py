"""What a run says of data that cannot carry a structure, and of real particles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from _commands import TINY, call, read_tables, succeed, write_set

BETAGAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "particles" / "betagal_10061"


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def check_no_structure(run: Path, out: str) -> None:
    summary = summary_of(run)
    assert summary["outcome"] == "no structure found"
    assert summary["resolution_molecule_A"] is None
    assert not (run / "fsc_molecule.csv").exists()
    assert summary["resolution_A"] is None
    assert "no structure" in out.lower()
    assert not (run / "latents.npy").exists()


@pytest.mark.parametrize("latent_dim", [0, 2])
def test_noise_has_no_structure(latent_dim: int, simulated: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).standard_normal((300, 32, 32))
    star = write_set(tmp_path / "noise", noise, simulated / "particles.star")
    done = succeed("abinit", star, "-o", tmp_path / "run", "--latent-dim", latent_dim, *TINY)
    check_no_structure(tmp_path / "run", done.out)
    assert len(read_tables(tmp_path / "run" / "particles.star")[1]) == 300
    more = call("analyze", tmp_path / "run")
    assert more.status == 0, more.err


@pytest.mark.truth
@pytest.mark.parametrize("seed", range(3))
def test_much_noise_has_no_structure(seed: int, tmp_path: Path) -> None:
    succeed("simulate", tmp_path / "set", "--particles", 50, "--box-px", 64)
    noise = np.random.default_rng(seed).standard_normal((5000, 64, 64))
    star = write_set(tmp_path / "noise", noise, tmp_path / "set" / "particles.star")
    done = succeed("abinit", star, "-o", tmp_path / "run", "--seed", seed)
    check_no_structure(tmp_path / "run", done.out)


@pytest.mark.skipif(not BETAGAL.is_dir(), reason=f"no beta-galactosidase particles at {BETAGAL}")
def test_real_particles_are_understood() -> None:
    found = json.loads(succeed("inspect", BETAGAL / "particles_192.star", "--json-output").out)
    assert found["contrast_sign"] == -1
    assert found["missing_stacks"] == []


@pytest.mark.truth
@pytest.mark.skipif(not BETAGAL.is_dir(), reason=f"no beta-galactosidase particles at {BETAGAL}")
def test_few_real_particles_are_called_few(tmp_path: Path, with_report: None) -> None:
    succeed("abinit", BETAGAL / "particles_192.star", "-o", tmp_path / "run", "--latent-dim", 0)
    summary = summary_of(tmp_path / "run")
    said = " ".join(summary["warnings"])
    assert "dark" in said
    assert summary["resolution_A"] is None or "too few" in said
    assert (summary["resolution_A"] is None) or "too few" in (tmp_path / "run" / "report.html").read_text()
