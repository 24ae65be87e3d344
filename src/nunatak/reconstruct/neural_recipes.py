"""Recipes whose volume is trained by gradients, as compositions of parts."""

from __future__ import annotations

from nunatak.core.errors import require
from nunatak.particles.dataset import Particles
from nunatak.reconstruct import amortised, autodecoder, autoencoder, parts, refit
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.searching import require_within_nyquist
from nunatak.reconstruct.stages import PoseSource, Recipe, Stage
from nunatak.reconstruct.state import RunState

SEARCH_EPOCHS = 30
"""At most: a small set would be searched hundreds of times for the published number of images."""


def require_latents(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where an encoder would have nothing to encode."""
    require(
        config.latents > 0,
        "An encoder needs latents, but --latent-dim is 0: give at least 1, or use a recipe without encoder.",
    )


def encoder_training(config: EngineConfig) -> tuple[Stage, ...]:
    """Volume and encoder at held poses, then latents from the encoder."""
    train = autoencoder.autoencoder_pass
    return (
        Stage("training volume and encoder", train, config.epochs, check=require_latents),
        *encoder_embedding(config),
    )


def encoder_embedding(config: EngineConfig) -> tuple[Stage, ...]:
    """Latents of all images from the encoder."""
    return (Stage("embedding", autoencoder.embed_pass, 1, cost=0.3),)


def table_embedding(config: EngineConfig) -> tuple[Stage, ...]:
    """Latents of all images from the table."""
    return (Stage("embedding", autodecoder.table_pass, 1, cost=0.1),)


def table_training(config: EngineConfig) -> tuple[Stage, ...]:
    """Volume and a table of latents at held poses."""
    return (
        Stage("training volume and latents", autodecoder.held_pass, config.epochs),
        *table_embedding(config),
    )


def found_maps(config: EngineConfig) -> tuple[Stage, ...]:
    """Half maps at the poses that were found."""
    return (Stage("maps from found poses", refit.found_maps_pass, 1),)


def closed_form_maps(config: EngineConfig) -> tuple[Stage, ...]:
    """The maps of a grid solved for, where the volume is one."""
    if config.decoder != "grid" or not config.latents:
        return ()
    return (Stage("maps in closed form", refit.refit_pass, 1, cost=1 + 0.2 * config.decoder_rank),)


def pretraining(config: EngineConfig) -> tuple[Stage, ...]:
    """A volume from images in random poses."""
    return (Stage("pretraining on random poses", autodecoder.pretrain_pass, 1),)


def bank_search(config: EngineConfig) -> tuple[Stage, ...]:
    """Epochs of hierarchical pose search, volume and latents trained between."""

    def searched(state: RunState) -> bool:
        return state.passes >= autodecoder.search_epochs(config, len(state.oriented.candidates))

    name, limit = "hierarchical pose search", min(SEARCH_EPOCHS, max(2, config.search_images))
    return (Stage(name, autodecoder.search_pass, limit, searched, cost=3.0, check=require_within_nyquist),)


def gradient_refinement(config: EngineConfig) -> tuple[Stage, ...]:
    """Gradients on poses, latents and volume together, from tables."""
    return (Stage("gradients on poses, latents and volume", autodecoder.gradient_pass, config.epochs),)


def encoder_search(config: EngineConfig) -> tuple[Stage, ...]:
    """Pretraining, then an autoencoder whose poses are searched every few epochs."""
    search = amortised.searching_pass
    return (
        Stage("pretraining on random poses", amortised.pretrain_pass, 1, check=require_latents),
        Stage("autoencoder and pose search", search, config.epochs, cost=2.0, check=require_within_nyquist),
    )


RECIPES = (
    Recipe(
        "cryodrgn",
        "trained volume, latents from an encoder (VAE)",
        PoseSource.GIVEN,
        (parts.given_poses, encoder_training, closed_form_maps, parts.final_maps),
    ),
    Recipe(
        "cryodrgn-ai-fixed",
        "trained volume, a table of latents, no encoder",
        PoseSource.GIVEN,
        (parts.given_poses, table_training, closed_form_maps, parts.final_maps),
    ),
    Recipe(
        "cryodrgn-ai",
        "pretraining, hierarchical search, gradients on tables of poses and latents",
        PoseSource.FOUND,
        (
            pretraining,
            bank_search,
            gradient_refinement,
            found_maps,
            table_embedding,
            closed_form_maps,
            parts.final_maps,
        ),
    ),
    Recipe(
        "cryodrgn2",
        "trained volume, latents from an encoder, hierarchical search every few epochs",
        PoseSource.FOUND,
        (encoder_search, found_maps, encoder_embedding, closed_form_maps, parts.final_maps),
    ),
)
