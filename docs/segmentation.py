"""Draw docs/segmentation.png: what the example of docs/segmentation.md computes.

``python docs/segmentation.py`` writes it again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from em_impute.reporting.style import STYLE

DOCS = Path(__file__).parent


def computed() -> dict[str, Any]:
    """The names of the page's example."""
    page = (DOCS / "segmentation.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - what the page shows is what is drawn
    return names


def draw(names: dict[str, Any], path: Path) -> None:
    """Draw the image and its segments, with holes above and complete below."""
    flower, holed, segments, complete = (
        names[name] for name in ("flower", "holed", "segments", "of_complete")
    )
    colours = [flower.reshape(-1, 3)[complete == g].mean(axis=0) for g in np.unique(complete)]
    painted, of_complete = (
        np.array(colours)[labels].reshape(flower.shape) for labels in (segments, complete)
    )
    elsewhere = np.where(segments == complete, 1.0, 0.0).reshape(flower.shape[:2])
    panels = {
        "with holes": np.nan_to_num(holed, nan=1.0),
        "its segments": painted,
        "filled": names["filled"],
        "complete": flower,
        "its segments ": of_complete,
        "of another segment": np.dstack([elsewhere] * 3),
    }
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(8.4, 4.1), layout="constrained")
        for place, (title, image) in zip(axes.flat, panels.items(), strict=True):
            place.imshow(image, interpolation="none")
            place.set_title(title)
            place.axis("off")
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(computed(), DOCS / "segmentation.png")
