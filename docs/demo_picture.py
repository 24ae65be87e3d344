"""Draw docs/demo.png from a finished demo: raw images above, the states found along the first component below.

    python docs/demo_picture.py demo/run
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import mrcfile

from nunatak.export.views import render_states
from nunatak.io.mrc import read_map

run = Path(sys.argv[1])
maps = [read_map(path)[0] for path in sorted((run / "volumes").glob("path_*.mrc"))]
states = render_states(maps, size_px=300)
with mrcfile.mmap(run / "simulation" / "particles.mrcs", permissive=True) as stack:
    images = [stack.data[i] for i in range(len(states))]
figure, axes = plt.subplots(2, len(states), figsize=(2 * len(states), 4.2), gridspec_kw={"height_ratios": [1, 1.15]})
for column, (image, state) in enumerate(zip(images, states, strict=True)):
    axes[0, column].imshow(image, cmap="gray", vmin=-2.5, vmax=2.5)
    axes[1, column].imshow(state)
for axis in axes.flat:
    axis.axis("off")
figure.tight_layout(pad=0.3)
figure.savefig(Path(__file__).parent / "demo.png", dpi=80, facecolor="white")
