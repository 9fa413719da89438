"""Figures as SVG that stands in a page, and as PNG.

In SVG, ink follows the page's text colour and others its custom properties, and maps and matrices
let its ground show through, so one file reads in light, dark and print.
"""

from __future__ import annotations

import io
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from em_impute.reporting.style import ALARM, IMPUTED, INK, PAPER, STYLE

PAGE_COLOURS = {
    INK: "currentColor",
    IMPUTED: f"var(--imputed, {IMPUTED})",
    ALARM: f"var(--alarm, {ALARM})",
}
PALETTE = 64


@matplotlib.rc_context(STYLE)
def as_png(figure: Figure, dpi: float = 120) -> bytes:
    """Return the figure as PNG, on an opaque light ground so that it reads on a dark page."""
    if figure.axes:
        figure.set_facecolor(PAPER)
    figure.set_dpi(dpi)
    # `savefig` would draw twice, and write a PNG only to be read here.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    _keep_layout(figure)
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    small = io.BytesIO()
    # A palette is a third of the size, and the pictures have few colours.
    drawn.quantize(PALETTE, dither=Image.Dither.NONE).save(small, format="png", compress_level=8)
    return small.getvalue()


@matplotlib.rc_context(STYLE)
def as_svg(figure: Figure, name: str, alt: str) -> str:
    """Return the figure as an `<svg>` element to stand in a page.

    Parameters
    ----------
    figure : Figure
        What to draw; its ground is left transparent.
    name : str
        Prefix of the element's ids: unique within the page.
    alt : str
        The picture in words, for those who cannot see it.
    """
    figure.patch.set_facecolor("none")
    for axes in figure.axes:
        axes.patch.set_facecolor("none")
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    _keep_layout(figure)
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    for element in root.iter():
        _settle(element, name)
    root.attrib.pop("width")
    root.attrib.pop("height")
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def _keep_layout(figure: Figure) -> None:
    # Where everything stands takes most of the time, and is the same when it is drawn again.
    figure.set_layout_engine("none")


def _settle(element: ElementTree.Element, name: str) -> None:
    """Make an element of a standalone SVG one of a page: no namespaces, own ids, its colours."""
    element.tag = element.tag.rpartition("}")[2]
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        key = key.rpartition("}")[2]
        if key == "id":
            value = f"{name}-{value}"
        elif key == "href":
            value = value.replace("#", f"#{name}-")
        else:
            value = value.replace("url(#", f"url(#{name}-")
            for colour, on_page in PAGE_COLOURS.items():
                value = value.replace(colour, on_page)
        element.set(key, value)
