import pytest

from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate


@pytest.fixture(scope="session")
def small_config():
    """A swinging molecule with junk and contrast, small enough for every test."""
    return SimulationConfig(
        particles=300,
        box_px=32,
        motion="hinge",
        states=5,
        snr=0.5,
        junk_fraction=0.1,
        contrast_sd=0.2,
        seed=3,
    )


@pytest.fixture(scope="session")
def small_set(small_config):
    return simulate(small_config)
