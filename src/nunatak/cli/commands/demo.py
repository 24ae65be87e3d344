"""`nunatak demo`: the whole job on a built-in simulated molecule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from nunatak.cli.options import CommonOptions, parse, use_machine
from nunatak.cli.results import Result, say


class Options(CommonOptions):
    """Options of the command."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Field(
        Path("demo-run"), description="Folder of the run."
    )


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(
        Options, words, "demo", "Simulate a swinging molecule, reconstruct it from nothing, report."
    )
    use_machine(options)
    import shutil

    from nunatak.cli.running import conclude, execute
    from nunatak.reconstruct.config import EngineConfig
    from nunatak.runs.job import InputConfig, JobConfig
    from nunatak.runs.limits import require_free
    from nunatak.runs.truth import add_truth
    from nunatak.runs.volumes import write_path, write_volumes_at_particles
    from nunatak.simulate.config import demo_config
    from nunatak.simulate.write import write_simulation

    truth = options.output / "simulation"
    if (options.output / "config.toml").exists() and truth.exists():
        # A demo is remade, not kept: it holds nothing that the command cannot make again.
        shutil.rmtree(options.output)
    require_free(options.output)
    config = demo_config(options.seed)
    say(
        f"simulating {config.particles:,} images of a molecule whose arm swings by "
        f"{config.hinge_degrees:g} degrees to either side"
    )
    write_simulation(truth, config)
    # Its particles lie within 2 px of the centre: fewer trial shifts do.
    engine = EngineConfig(latent_dim=2, seed=options.seed, shift_extent_px=3.0)
    job = JobConfig(
        device=options.device,
        threads=options.threads,
        input=InputConfig(particles=truth / "particles.star"),
        engine=engine,
    )
    execute(job, options.output)
    write_path(options.output, options.output / "volumes", count=7)
    write_volumes_at_particles(
        options.output, options.output / "volumes", range(0, config.particles, config.particles // 20)
    )
    figures = add_truth(options.output, truth)
    concluded = conclude(options.output)
    told = [f"  {meaning}: {figures[name]:.3g}" for name, meaning in _FIGURES.items() if name in figures]
    return Result(concluded.content, [*concluded.sentences, "against the truth of the simulation:", *told])


_FIGURES = {
    "rot_within_state_median_deg": "median rotation error within a state, degrees",
    "rot_median_deg": "median rotation error in one frame for all states, degrees",
    "shift_median_A": "median shift error, A",
    "mean_fsc05_A": "mean map agrees with the true mean to, A (FSC 0.5)",
    "latent_knn": "correlation of the arm's angle with its prediction from the latents",
    "per_image_fsc_auc": "area under the FSC of each particle's map with its true map (at most 0.5)",
}
