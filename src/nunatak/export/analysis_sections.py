"""The sections of a report that an analysis adds; None where a run was not analysed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nunatak.export.analysis_contents import PATH_WORDS, AnalysisContents
from nunatak.export.landscapes import (
    cluster_figure,
    energy_plane_figure,
    energy_profile_figure,
    occupancy_figure,
    support_figure,
)
from nunatak.export.markup import Section, figure, grid, table
from nunatak.export.run_contents import RunContents
from nunatak.export.style import figure_svg


def landscape_section(run: RunContents) -> Section | None:
    """Free energy over the plane and along the path, and what supports the paths."""
    found = run.analysis
    if found is None:
        return None
    blocks = [block for block in (_plane(found), _profile(found), _support(found)) if block]
    components = found.told.get("components", {})
    informed, total = components.get("informed", 0), found.told.get("latent_dim", 0)
    lead = f"{informed} of {total} components carry more than noise. " if total else ""
    lead += "The particles' own errors are taken out; a free energy belongs to the coordinate it is drawn on."
    warnings = [str(warning) for warning in found.told.get("warnings", [])]
    notes = [str(note) for note in found.told.get("notes", [])]
    rows = [(sentence,) for sentence in [*warnings, *notes]]
    return Section("Landscape", lead, (grid(blocks), *([table(rows)] if rows else [])))


def group_section(run: RunContents) -> Section | None:
    """Clusters in the plane of the coordinates and in the UMAP, and their sizes."""
    found = run.analysis
    if found is None or found.kmeans is None:
        return None
    blocks = []
    planes = {"coordinates": found.components, "UMAP": found.umap}
    for name, points in planes.items():
        if (
            points is not None
            and points.ndim == 2
            and points.shape[1] > 1
            and len(points) == len(found.kmeans)
        ):
            axes = ("UMAP 1", "UMAP 2") if name == "UMAP" else ("coordinate 1", "coordinate 2")
            drawn = cluster_figure(points[:, :2], found.kmeans, axes)
            blocks.append(
                figure(figure_svg(drawn, f"Clusters in the {name}", f"clusters-{name}"), f"In the {name}")
            )
    sizes = np.bincount(found.kmeans)
    told = found.told.get("kmeans", {}).get("representatives", [])
    rows = [("cluster", "particles", "representative particle")]
    rows += [(str(k), f"{size:,}", str(row)) for k, (size, row) in enumerate(zip(sizes, told, strict=False))]
    mixture = found.told.get("mixture", {}).get("clusters")
    lead = f"k-means clusters, {len(sizes)} as asked for." + (
        f" A Gaussian mixture chosen by the BIC has {mixture} components." if mixture else ""
    )
    blocks.append(figure(table(rows), "Sizes"))
    return Section("Clusters", lead, (grid(blocks),))


def map_landscape_section(run: RunContents) -> Section | None:
    """Occupancy of the blocks in the maps, and the commonest combinations."""
    found = run.analysis
    if found is None or found.maps is None:
        return None
    names = [str(name) for name in found.maps if str(name).startswith("occupancy_")]
    if not names:
        return None
    occupancies = found.maps[names].to_numpy(float)
    drawn = occupancy_figure(
        occupancies, [name.removeprefix("occupancy_") for name in names], found.maps["share"].to_numpy(float)
    )
    states = found.told.get("map_landscape", {}).get("states", [])[:8]
    rows = [(" + ".join(state["present"]) or "none", f"{state['share']:.0%}") for state in states]
    blocks = [
        figure(figure_svg(drawn, "Occupancy of each block", "occupancy"), "Occupancy of the blocks"),
        figure(table([("blocks present", "particles"), *rows]), "Commonest combinations"),
    ]
    lead = (
        f"In {len(found.maps)} maps at representative particles; a block is present from half its voxels on."
    )
    return Section("Composition", lead, (grid(blocks),))


def association_section(run: RunContents) -> Section | None:
    """Latents against columns from elsewhere."""
    found = run.analysis
    told = [] if found is None else found.told.get("associations", [])
    if not told:
        return None
    rows = [("column", "agreement", "from 20 neighbours")]
    for one in told:
        if one["kind"] == "classes":
            agreement = f"ARI {one['ari']:.2f}, AMI {one['ami']:.2f}"
            knn = f"accuracy {one['knn']:.0%} (chance {one['chance']:.0%})"
        else:
            agreement, knn = f"Spearman {one['correlation']:.2f}", f"correlation {one['knn']:.2f}"
        rows.append((one["name"], agreement, knn))
    lead = "Classes are compared with the k-means clusters, numbers with the coordinate that fits best."
    return Section("Other columns", lead, (table(rows),))


def _plane(found: AnalysisContents) -> str:
    axes = found.told.get("landscape", {}).get("axes", [])
    if found.free_energy_kT is None or len(axes) != 2:
        return ""
    extents = [(float(axis["low"]), float(axis["high"])) for axis in axes]
    way = _points(found, found.recommended)
    drawn = energy_plane_figure(found.free_energy_kT, extents, way)
    caption = "Leading plane of the coordinates; a unit is one standard deviation of a particle's error."
    if way is not None and found.recommended:
        caption += f" The line is a path ({PATH_WORDS[found.recommended]}), at posterior means."
    return figure(figure_svg(drawn, "Free energy over the leading plane", "plane"), "Free energy", caption)


def _profile(found: AnalysisContents) -> str:
    chosen = next((path for path in found.paths if path.name == found.recommended), None)
    if chosen is None:
        return ""
    profile: pd.DataFrame = chosen.profile
    ends = (float(chosen.points["position"].iloc[0]), float(chosen.points["position"].iloc[-1]))
    position, energy, error = (
        profile[name].to_numpy(float) for name in ("position", "free_energy_kT", "error_kT")
    )
    drawn = energy_profile_figure(position, energy, error, ends)
    title = f"Free energy along the path: {PATH_WORDS[chosen.name]}"
    caption = (
        "The band is one standard error with the effect of the smoothing; dashes mark the ends of the path."
    )
    return figure(figure_svg(drawn, title, "profile"), title, caption)


def _support(found: AnalysisContents) -> str:
    if not found.paths:
        return ""
    drawn = support_figure([(PATH_WORDS[p.name], p.points["support"].to_numpy(float)) for p in found.paths])
    caption = "How many particles could lie at each point, against a typical particle's own place."
    return figure(figure_svg(drawn, "Support along each path", "support"), "Support of the paths", caption)


def _points(found: AnalysisContents, name: str | None) -> np.ndarray | None:
    for path in found.paths:
        if path.name == name and {"component_0", "component_1"} <= set(path.points):
            return path.points[["component_0", "component_1"]].to_numpy(float)
    return None
