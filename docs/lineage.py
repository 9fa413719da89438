"""Draw docs/lineage.png from the events that a run of configs/quickstart.yaml sends.

``python docs/lineage.py`` runs the job and writes the picture again.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from em_impute.flows.direct import run_directly
from em_impute.job import load_job
from em_impute.reporting.style import IMPUTED, INK, STYLE

DOCS = Path(__file__).parent
LEFT, MIDDLE, RIGHT = 0.0, 4.6, 7.2


def emitted() -> list[dict[str, Any]]:
    """The events of a run, taken from a file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data").symlink_to(DOCS.parent / "data")
        before = Path.cwd()
        os.chdir(folder)
        Path("openlineage.yml").write_text(
            "transport: {type: file, log_file_path: events.jsonl, append: true}\n"
        )
        try:
            run_directly(load_job(DOCS.parent / "configs" / "quickstart.yaml"))
            return [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
        finally:
            os.chdir(before)


def edges(event: dict[str, Any]) -> list[tuple[str, str, str]]:
    """From which column of the source to which of the target, and in which way."""
    fields = event["outputs"][0]["facets"]["columnLineage"]["fields"]
    return [
        (one["field"], name, one["transformations"][0]["type"])
        for name, field in fields.items()
        for one in field["inputFields"]
    ]


def draw(event: dict[str, Any], path: Path) -> None:
    """Draw the columns of both tables, and what each of the target is made of."""
    [source], [target] = event["inputs"], event["outputs"]
    names = [field["name"] for field in source["facets"]["schema"]["fields"]]
    rows = {name: -i for i, name in enumerate(names)}
    missing = source["inputFacets"]["dataQualityMetrics"]["columnMetrics"]
    left = target["facets"]["dataQualityMetrics"]["columnMetrics"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.4, 3.6), layout="constrained")
        for start, end, way in sorted(edges(event)):
            style = {"color": IMPUTED, "linestyle": (0, (4, 3))} if way == "INDIRECT" else {}
            places = [LEFT + 1.9, RIGHT], [rows[start], rows[end]]
            axes.plot(*places, **{"color": INK, "linewidth": 1.2, "zorder": 1} | style)
        _table(axes, LEFT, Path(source["name"]).name, {n: missing[n]["nullCount"] for n in names})
        _table(axes, RIGHT, Path(target["name"]).name, {n: left[n]["nullCount"] for n in names})
        job = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": INK}
        axes.text(MIDDLE, 0.95, event["job"]["name"], ha="center", va="center", bbox=job)
        axes.set(xlim=(-0.2, RIGHT + 2.1), ylim=(-len(names) + 0.3, 1.4))
        axes.axis("off")
        figure.savefig(path, dpi=110)


def _table(axes: Axes, x: float, title: str, missing: dict[str, int]) -> None:
    axes.text(x + 0.95, 0.85, title, ha="center", fontweight="bold")
    for i, (name, cells) in enumerate(missing.items()):
        box = FancyBboxPatch((x + 0.05, -i - 0.36), 1.8, 0.72, boxstyle="round,pad=0.04")
        box.set(facecolor="white", edgecolor=INK, zorder=2)
        axes.add_patch(box)
        axes.text(x + 0.2, -i, name, va="center", zorder=3)
        if cells:
            axes.text(x + 1.75, -i, f"{cells} missing", ha="right", va="center", zorder=3, size=7)


if __name__ == "__main__":
    draw(emitted()[-1], DOCS / "lineage.png")
