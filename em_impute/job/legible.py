"""Text that others wrote, such as names of columns, levels, files and jobs, as it may be shown.

It is hostile until proven otherwise: an escape sequence acts upon a terminal, a character that
turns the direction of reading makes one name look like another, markdown loads pictures and makes
links. `legible` decides which characters may be shown, for all of the program; the others here
show the same in other forms. HTML is not in here: jinja2 escapes it.
"""

from __future__ import annotations

import re

BOX = "\u25a1"
# Emoji and some scripts need these; all else that is not printable hides something or acts.
JOINERS = "\u200c\u200d"
# Has no width. A name in which it stands looks the same, and no program sees a link or a tag in it.
BREAK = "\ufeff"

# An underscore between letters or digits is only an underscore; a colon matters in addresses.
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>#!|&~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)")
# What viewers make a link of though it is not written as one, after references are resolved.
_ADDRESS = re.compile(r"(?i:(?<=http)|(?<=https)|(?<=ftp)):(?=//)|(?i:(?<=www))\.|@")
# Of these only what markdown would act upon: elsewhere a name is shown as it is.
_ACTIVE = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|[`*~]|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|^[#>+-](?=\s|[#>])"
    r"|(?<![^\W_])_|_(?![^\W_])"
)

# A message goes into the log, and into the run's state in Prefect.
_LONGEST_LINE = 160
_LONGEST_WORD = 60


def legible(text: str) -> str:
    """Return a text on one line, with a box for each character that hides, turns or acts."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c in JOINERS else BOX for c in line)


def legible_lines(text: str) -> str:
    """Return a message of several lines likewise, each of its lines for itself."""
    return "\n".join(
        line[: len(line) - len(line.lstrip(" "))] + legible(line) for line in text.split("\n")
    )


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return a text, legible, cut to a length."""
    line = legible(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def quoted_if_odd(name: object) -> str:
    """Return a name, cut to a length, as it is; in quotes, with escapes, if it is not legible."""
    shown = str(name)[:_LONGEST_WORD]
    return shown if legible(shown) == shown != "" else ascii(shown)


def file_name(name: str) -> str:
    """Return the name of a file, legible, with escapes for the bytes of it that are no text."""
    return legible(name.encode(errors="backslashreplace").decode())


def in_markdown(text: str) -> str:
    """Return a text, legible, as markdown that shows it and nothing else.

    What has a meaning in markdown is written as a character reference, which has none. Of addresses
    some viewers make links even so, which a character of no width keeps them from.
    """
    broken = _ADDRESS.sub(lambda match: f"{BREAK}{match[0]}{BREAK}", legible(text))
    return _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", broken)


def in_a_table(text: str) -> str:
    """Return a text, legible, as a cell of a table artifact.

    One of Prefect's UIs takes a cell as markdown, the other as text, in which a reference would be
    seen. So nothing is escaped here, but what markdown would act upon is broken up, by a character
    that has no width.
    """
    broken = _ADDRESS.sub(lambda match: f"{BREAK}{match[0]}{BREAK}", legible(text))
    return _ACTIVE.sub(lambda match: f"{BREAK}{match[0]}{BREAK}", broken)
