"""Heterogeneity of atomic models: a domain that swings about a hinge, blocks that are present or absent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nunatak.core.errors import InputError, require
from nunatak.simulate.structures import AtomicModel, joined

CONTACT_A = 8.0
"""Atoms of two domains this close touch."""
LEAST_ARM, MOST_ARM = 0.04, 0.35
"""Mass fractions between which a chain counts as a domain that may swing by default."""
PIVOT_RESIDUES = 3
"""A pivot residue is averaged with this many neighbours on either side."""


@dataclass(frozen=True)
class Hinge:
    """A part of a model and the line that it turns about.

    Attributes
    ----------
    arm : (n,) bool
        The atoms that move.
    pivot_A : (3,) float64
        A point of the hinge line.
    axis : (3,) float64
        Unit vector along the line.
    """

    arm: np.ndarray
    pivot_A: np.ndarray
    axis: np.ndarray


def swing(model: AtomicModel, hinge: Hinge, angle_deg: float) -> AtomicModel:
    """The model with its arm turned by an angle about the hinge; the rest stays in place."""
    turn = Rotation.from_rotvec(np.radians(angle_deg) * hinge.axis)
    positions_A = model.positions_A.copy()
    positions_A[hinge.arm] = turn.apply(positions_A[hinge.arm] - hinge.pivot_A) + hinge.pivot_A
    return model.moved(positions_A)


def find_hinge(model: AtomicModel, selections: tuple[str, ...] = (), pivot: str = "") -> Hinge:
    """The hinge of a model: as selected, or a domain far from the centre, where it touches the rest.

    Without a selection the arm is the chain farthest from the centre of mass that holds 4 to 35 % of the
    mass, or else the farthest of five k-means clusters. Without a pivot, the line goes through the arm's
    contact with the rest. The arm swings in the plane of its centre, the pivot and the centre of mass.

    Parameters
    ----------
    model : AtomicModel
    selections : tuple of str
        Chains ("A") or residue ranges ("B:1-235").
    pivot : str
        A residue ("B:236").

    Raises
    ------
    InputError
        When a selection or the pivot is malformed, selects nothing, or selects everything.
    """
    arm = _select(model, selections) if selections else _farthest_domain(model)
    require(
        0 < arm.sum() < len(model),
        f"The hinge should move a part of the structure, but {' '.join(selections) or 'the domain found'} "
        f"selects {int(arm.sum())} of {len(model)} atoms; choose other chains.",
    )
    pivot_A = _residue_centre(model, pivot) if pivot else _contact_centre(model, arm)
    towards_arm = model.subset(arm).centre_of_mass_A - pivot_A
    axis = np.cross(towards_arm, model.centre_of_mass_A - pivot_A)
    if np.linalg.norm(axis) < 1e-3 * np.linalg.norm(towards_arm) ** 2:
        # Arm, pivot and centre in one line leave the plane open: take any.
        axis = np.cross(towards_arm, np.eye(3)[np.argmin(np.abs(towards_arm))])
    return Hinge(arm, pivot_A, axis / np.linalg.norm(axis))


def _select(model: AtomicModel, selections: tuple[str, ...]) -> np.ndarray:
    """(n,) mask of the atoms in any of the selections."""
    mask = np.zeros(len(model), bool)
    for text in selections:
        match = re.fullmatch(r"([^:]+)(?::(-?\d+)-(-?\d+))?", text)
        if match is None:
            raise InputError(
                "A hinge selection should be a chain (A) or a range of its residues (B:1-235), "
                f"but is {text!r}; write it so."
            )
        chain, first, last = match.groups()
        _require_chain(model, chain)
        chosen = model.chains == chain
        if first is not None:
            chosen &= (model.residues >= int(first)) & (model.residues <= int(last))
        mask |= chosen
    return mask


def _require_chain(model: AtomicModel, chain: str) -> None:
    names = model.chain_names
    require(
        chain in names,
        f"Chain {chain!r} was asked for, but the structure has the chains {', '.join(names[:40])}; "
        "choose among them.",
    )


def _residue_centre(model: AtomicModel, text: str) -> np.ndarray:
    """(3,) centre of the atoms about one residue, "B:236"."""
    match = re.fullmatch(r"([^:]+):(-?\d+)", text)
    if match is None:
        raise InputError(f"A hinge pivot should be a residue (B:236), but is {text!r}; write it so.")
    chain, residue = match[1], int(match[2])
    _require_chain(model, chain)
    near = (model.chains == chain) & (np.abs(model.residues - residue) <= PIVOT_RESIDUES)
    require(
        bool(near.any()),
        f"The pivot {text!r} should be a residue of the structure, but chain {chain} has none near.",
    )
    return model.positions_A[near].mean(0)


def _contact_centre(model: AtomicModel, arm: np.ndarray) -> np.ndarray:
    """(3,) centre of the arm's atoms that touch the rest, or the nearest one when none does."""
    distance, _ = cKDTree(model.positions_A[~arm]).query(model.positions_A[arm])
    near = distance <= max(CONTACT_A, distance.min())
    return model.positions_A[arm][near].mean(0)


def _farthest_domain(model: AtomicModel) -> np.ndarray:
    """(n,) mask of the domain of moderate mass whose centre is farthest from the centre of mass."""
    total, centre = model.weights.sum(), model.centre_of_mass_A
    masks = [model.chains == name for name in model.chain_names]
    masks = [mask for mask in masks if LEAST_ARM <= model.weights[mask].sum() / total <= MOST_ARM]
    if not masks:
        labels = _cluster(model.positions_A, 5)
        masks = [labels == label for label in np.unique(labels)]
    far = [np.linalg.norm(model.subset(mask).centre_of_mass_A - centre) for mask in masks]
    return masks[int(np.argmax(far))]


def _cluster(points: np.ndarray, count: int) -> np.ndarray:
    """(n,) k-means labels; the same points give the same labels."""
    count = min(count, len(points))
    return kmeans2(points, count, minit="++", rng=np.random.default_rng(0))[1]


def split_blocks(model: AtomicModel, count: int) -> dict[str, AtomicModel]:
    """Divide one model into blocks, heaviest first: its chains, merged by place where there are too many.

    A model of one chain is divided in space. A block is named after its chains, or by its number.
    """
    names = model.chain_names
    if len(names) <= 1:
        labels = _cluster(model.positions_A, count)
        groups = {str(number + 1): labels == label for number, label in enumerate(np.unique(labels))}
    elif len(names) <= count:
        groups = {name: model.chains == name for name in names}
    else:
        centres = np.array([model.subset(model.chains == name).centre_of_mass_A for name in names])
        labels = _cluster(centres, count)
        members = [
            [n for n, own in zip(names, labels, strict=True) if own == label] for label in np.unique(labels)
        ]
        groups = {"".join(chains): np.isin(model.chains, chains) for chains in members}
    blocks = {name: model.subset(mask) for name, mask in groups.items()}
    return dict(sorted(blocks.items(), key=lambda item: -item[1].weights.sum()))


def chain_blocks(model: AtomicModel) -> dict[str, AtomicModel]:
    """Every chain as a block of its own."""
    return {name: model.subset(model.chains == name) for name in model.chain_names}


def default_assembly(names: list[str], count: int) -> list[tuple[str, ...]]:
    """Block names of `count` states: the first block, then one more each, then other subsets with the first.

    Raises
    ------
    InputError
        When there are fewer subsets than states.
    """
    path = [tuple(names[: present + 1]) for present in range(len(names))]
    others = [
        (names[0], *subset)
        for size in range(1, len(names))
        for subset in combinations(names[1:], size)
        if (names[0], *subset) not in path
    ]
    require(
        count <= len(path) + len(others),
        f"{len(names)} blocks can be in {len(path) + len(others)} states, but {count} were asked for; "
        "ask for fewer or for more --blocks.",
    )
    # With fewer states than blocks, the whole molecule is still the last one.
    return (path + others)[:count] if count >= len(path) else [*path[: count - 1], path[-1]]


def assemble(blocks: dict[str, AtomicModel], present: tuple[str, ...]) -> AtomicModel:
    """The named blocks as one model, in the frame they came in."""
    unknown = [name for name in present if name not in blocks]
    require(
        not unknown,
        f"An assembly state should name blocks among {', '.join(blocks)}, but names {', '.join(unknown)}; "
        "join names by +.",
    )
    return joined([blocks[name] for name in present])
