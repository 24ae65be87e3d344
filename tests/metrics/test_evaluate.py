import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_evaluated_run import Fault, write_run, write_truth

from nunatak.core.errors import InputError
from nunatak.metrics.evaluate import evaluate_run

REFEREE = Path(__file__).resolve().parents[3] / "shared/referee/score.py"


@pytest.mark.parametrize("hand", [1, -1])
def test_known_errors_come_back_in_either_hand(tmp_path, hand):
    write_truth(tmp_path / "truth", 300, np.linspace(-1, 1, 12), junk=20)
    write_run(tmp_path / "run", tmp_path / "truth", Fault(hand=hand, rotation_deg=3.0), maps_at=(25, 40, 3))
    figures = evaluate_run(tmp_path / "run", tmp_path / "truth", tmp_path / "run/volumes")
    assert figures["hand"] == hand
    assert figures["rot_median_deg"] == pytest.approx(3.0, rel=0.1)
    assert figures["shift_median_A"] == pytest.approx(1.0, rel=0.1)
    assert figures["latent_knn"] > 0.9
    assert figures["volumes_scored"] == 2
    assert figures["per_image_fsc_auc"] > 0.4
    assert figures["junk_auc"] > 0.8


def test_a_wrong_hand_would_be_noticed_in_the_map(tmp_path):
    write_truth(tmp_path / "truth", 200, np.zeros(1))
    write_run(tmp_path / "run", tmp_path / "truth", Fault(hand=-1))
    write_run(tmp_path / "other", tmp_path / "truth", Fault(hand=1))
    right = evaluate_run(tmp_path / "run", tmp_path / "truth")
    (tmp_path / "run/mean.mrc").write_bytes((tmp_path / "other/mean.mrc").read_bytes())
    wrong = evaluate_run(tmp_path / "run", tmp_path / "truth")
    assert right["mean_fsc_auc"] > wrong["mean_fsc_auc"] + 0.1
    assert "latent_knn" not in right


@pytest.mark.skipif(not REFEREE.exists(), reason="the referee's score.py is not beside this checkout")
@pytest.mark.parametrize(
    ("hand", "coordinates", "wrong"),
    [(1, np.linspace(-1, 1, 12), 0.1), (-1, np.arange(3.0), 0.3)],
    ids=["motion", "classes in the other hand"],
)
def test_agrees_with_the_referee(tmp_path, hand, coordinates, wrong):
    write_truth(tmp_path / "truth", 240, coordinates, junk=15)
    fault = Fault(hand=hand, rotation_deg=6.0, random_fraction=wrong, latent_noise=0.4)
    write_run(tmp_path / "run", tmp_path / "truth", fault, maps_at=(30, 40))
    volumes = tmp_path / "run/volumes"
    command = [sys.executable, REFEREE, tmp_path / "run", tmp_path / "truth", "--volumes", volumes]
    expected = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    figures = evaluate_run(tmp_path / "run", tmp_path / "truth", volumes)
    # Every state has the same hand here.
    own_hands = figures.pop("rot_within_state_own_hands_median_deg")
    assert own_hands == figures["rot_within_state_median_deg"]
    assert figures == pytest.approx(expected, rel=1e-3)


def test_missing_rows_and_another_order_are_refused(tmp_path):
    write_truth(tmp_path / "truth", 60, np.arange(2.0))
    write_truth(tmp_path / "longer", 61, np.arange(2.0))
    write_run(tmp_path / "run", tmp_path / "truth", Fault())
    with pytest.raises(InputError, match="60 particles but the truth 61"):
        evaluate_run(tmp_path / "run", tmp_path / "longer")
    star = tmp_path / "run/particles.star"
    star.write_text(star.read_text().replace("000001@", "000009@"))
    with pytest.raises(InputError, match="not in the truth's order"):
        evaluate_run(tmp_path / "run", tmp_path / "truth")


def test_a_run_without_poses_is_refused(tmp_path):
    write_truth(tmp_path / "truth", 30, np.arange(2.0))
    with pytest.raises(InputError, match="has no rlnAngleRot"):
        evaluate_run(tmp_path / "truth", tmp_path / "truth")


def test_a_map_that_names_no_particle_and_a_broken_one_are_refused(tmp_path):
    write_truth(tmp_path / "truth", 30, np.zeros(1))
    write_run(tmp_path / "run", tmp_path / "truth", Fault())
    for name, sentence in (("vol_000077.mrc", "names none of the 30"), ("vol_000007.mrc", "cannot be read")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"no map")
        with pytest.raises(InputError, match=sentence):
            evaluate_run(tmp_path / "run", tmp_path / "truth", folder)
