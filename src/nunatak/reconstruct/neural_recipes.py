"""Recipes whose volume is trained by gradients, as compositions of parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from nunatak.core.errors import require
from nunatak.particles.dataset import Particles
from nunatak.reconstruct import amortised, autodecoder, autoencoder, parts, pose_encoding, refit
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.judgement import judge_pass
from nunatak.reconstruct.searching import require_marching, require_within_nyquist
from nunatak.reconstruct.stages import Part, PoseSource, Recipe, Stage
from nunatak.reconstruct.state import Context, RunState


def require_latents(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where an encoder would have nothing to encode."""
    require(
        config.latents > 0,
        "An encoder needs latents, but --latent-dim is 0: give at least 1, or use a recipe without encoder.",
    )


def require_searching_encoder(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where the encoder would have nothing to encode, or the search no samples."""
    require_latents(config, particles)
    require_within_nyquist(config, particles)


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


def random_starts(config: EngineConfig) -> tuple[Stage, ...]:
    """The default engine's race of starts, where the first volume is to be its winner's map."""
    return parts.random_starts(config) if config.first_volume == "starts" else ()


def first_volume(advance: Callable[[RunState, Context], RunState]) -> Part:
    """A volume to begin with, from the best start or from images in random poses."""

    def begin(config: EngineConfig) -> tuple[Stage, ...]:
        return (Stage("first volume", advance, 1, check=require_marching),)

    return begin


def verdict(config: EngineConfig) -> tuple[Stage, ...]:
    """Whether there is a structure, before anything learns from the images that are to tell."""
    return (Stage("is there a structure", judge_pass, 1),)


def bank_search(config: EngineConfig) -> tuple[Stage, ...]:
    """Epochs of hierarchical pose search, volume and latents trained between."""

    def searched(state: RunState) -> bool:
        return state.passes >= autodecoder.search_epochs(config, len(state.oriented.candidates))

    name, limit = "hierarchical pose search", min(autodecoder.SEARCH_EPOCHS, max(2, config.search_images))
    return (Stage(name, autodecoder.search_pass, limit, searched, cost=3.0, check=require_within_nyquist),)


def gradient_refinement(config: EngineConfig) -> tuple[Stage, ...]:
    """Gradients on poses, latents and volume together, from tables."""
    return (Stage("gradients on poses, latents and volume", autodecoder.gradient_pass, config.epochs),)


def encoder_search(config: EngineConfig) -> tuple[Stage, ...]:
    """An autoencoder whose poses are searched every few epochs."""
    search, name = amortised.searching_pass, "autoencoder and pose search"
    return (Stage(name, search, config.epochs, cost=2.0, check=require_searching_encoder),)


def encoded_poses(config: EngineConfig) -> tuple[Stage, ...]:
    """An encoder of poses and latents on views of the first volume; then both trained together on images."""
    alone = pose_encoding.self_passes(config)
    first = (
        (Stage("encoder on views of the volume", pose_encoding.self_pass, alone, cost=2.0),) if alone else ()
    )
    return (
        *first,
        Stage("volume and encoder of poses", pose_encoding.encoding_pass, config.epochs, cost=4.0),
    )


def pose_polishing(config: EngineConfig) -> tuple[Stage, ...]:
    """Gradients on the poses that were encoded, from a table; the encoder takes no more part."""
    if not config.polish_epochs:
        return ()
    return (Stage("gradients on encoded poses", pose_encoding.polish_pass, config.polish_epochs),)


def encoded_latents(config: EngineConfig) -> tuple[Stage, ...]:
    """Latents of all images: from the encoder, or from the table that gradients have moved."""
    embed = autodecoder.table_pass if config.polish_epochs else pose_encoding.embed_pass
    return (Stage("embedding", embed, 1, cost=0.3, check=require_latents),)


def rigid(part: Part) -> Part:
    """The same part for one structure, whatever number of latents is asked for."""

    def without_latents(config: EngineConfig) -> tuple[Stage, ...]:
        stages = part(one_structure(config))
        return tuple(
            replace(
                stage, advance=partial(_as_one_structure, stage.advance), check=partial(_rigid_check, stage)
            )
            for stage in stages
        )

    return without_latents


def one_structure(config: EngineConfig) -> EngineConfig:
    """The configuration without latents."""
    return config.model_copy(update={"latent_dim": 0})


def _as_one_structure(
    advance: Callable[[RunState, Context], RunState], state: RunState, context: Context
) -> RunState:
    return advance(state, replace(context, config=one_structure(context.config)))


def _rigid_check(stage: Stage, config: EngineConfig, particles: Particles) -> None:
    require(
        config.counts_latents or not config.latents,
        f"This recipe makes one map, but --latent-dim is {config.latent_dim}: leave it out, or take the "
        "recipe cryofire, which encodes latents too.",
    )
    stage.check(config, particles)


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
        "trained volume, hierarchical search, gradients on tables of poses and latents",
        PoseSource.FOUND,
        (
            random_starts,
            first_volume(autodecoder.pretrain_pass),
            bank_search,
            verdict,
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
        (
            random_starts,
            first_volume(amortised.pretrain_pass),
            encoder_search,
            verdict,
            found_maps,
            encoder_embedding,
            closed_form_maps,
            parts.final_maps,
        ),
    ),
    Recipe(
        "cryoai",
        "one trained volume, poses from an encoder, symmetrised loss",
        PoseSource.FOUND,
        (
            random_starts,
            rigid(first_volume(pose_encoding.pretrain_pass)),
            rigid(encoded_poses),
            verdict,
            rigid(pose_polishing),
            found_maps,
            parts.final_maps,
        ),
        rigid=True,
    ),
    Recipe(
        "cryofire",
        "trained volume, poses and latents from an encoder, symmetrised loss",
        PoseSource.FOUND,
        (
            random_starts,
            first_volume(pose_encoding.pretrain_pass),
            encoded_poses,
            verdict,
            pose_polishing,
            found_maps,
            encoded_latents,
            closed_form_maps,
            parts.final_maps,
        ),
    ),
)
