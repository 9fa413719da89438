"""A page for each error, `errors/*.md`, and their list, `errors.md`, from `troubleshooting.md`.

Who searches the site by the words of a message gets a page that begins with it and says what to do.
Messages that have one cause and remedy share a page, as they share a row there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

INTRO = """\
# Errors, one by one

Search for some words of a message: those that are not a name or a number of yours. `…` stands for
these. [Troubleshooting](troubleshooting.md) has the same on one page.
"""


@dataclass(frozen=True)
class Entry:
    """A row of a table of `troubleshooting.md`.

    Attributes
    ----------
    section : str
        The heading above it.
    messages : tuple of str
        As Markdown; those that have the same remedy.
    remedy : str
        As Markdown.
    """

    section: str
    messages: tuple[str, ...]
    remedy: str

    @property
    def name(self) -> str:
        """Of its page: the first words of its first message."""
        return "-".join(re.findall(r"[a-z0-9]+", self.messages[0].lower())[:8])


def entries(troubleshooting: str) -> Iterator[Entry]:
    """The rows of all tables."""
    section = ""
    for line in troubleshooting.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        row = re.fullmatch(r"\| (.*?) \| (.*) \|", line)
        if row and row[2] != "---" and "cause and remedy" not in row[2]:
            yield Entry(section, tuple(row[1].split("<br>")), row[2].replace("\\|", "|"))


def error_pages(troubleshooting: str) -> dict[str, str]:
    """From the name of each page, without its suffix, to its Markdown; that of the list, too."""
    pages: dict[str, str] = {}
    listed = [INTRO]
    section = ""
    for entry in entries(troubleshooting):
        if entry.section != section:
            section = entry.section
            listed.append(f"\n## {section}\n")
        name = f"errors/{entry.name}"
        while name in pages:
            name += "-too"
        pages[name] = _page(entry)
        listed += [f"- [{message}]({name}.md)" for message in entry.messages]
    return {**pages, "errors": "\n".join([*listed, ""])}


def _page(entry: Entry) -> str:
    first, *others = entry.messages
    remedy = re.sub(r"\]\((?!\w+:)", "](../", entry.remedy)
    about = f"About: [{entry.section}](../troubleshooting.md#{_anchor(entry.section)})."
    parts = ["---\norphan: true\n---", f"# {first}", remedy, about]
    if others:
        # As headings they weigh more in the search.
        parts += ["The same goes for:", *(f"## {message}" for message in others)]
    return "\n\n".join([*parts, ""])


def _anchor(heading: str) -> str:
    """As GitHub and MyST name the place of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
