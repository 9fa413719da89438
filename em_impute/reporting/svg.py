"""Figures as SVG that stands in a page, and as PNG.

In SVG, ink follows the page's text colour and others its custom properties, and maps and matrices
let its ground show through, so one file reads in light, dark and print.
"""

from __future__ import annotations

import io
from xml.etree import ElementTree

import matplotlib
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
    drawn, small = io.BytesIO(), io.BytesIO()
    ground = PAPER if figure.axes else figure.get_facecolor()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor=ground)
    # A palette is a third of the size, and the pictures have few colours.
    Image.open(drawn).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    for element in root.iter():
        _settle(element, name)
    root.attrib.pop("width")
    root.attrib.pop("height")
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


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
