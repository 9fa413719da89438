"""Names that are shown: as they are where they are harmless, and harmless where they are not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import WriteJob
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from em_impute.cli import main as cli
from em_impute.job.legible import (
    BOX,
    BREAK,
    JOINERS,
    file_name,
    in_a_table,
    in_markdown,
    legible,
    legible_lines,
    one_line,
    quoted_if_odd,
)

MEANINGS = {"image", "link_open", "html_inline", "html_block", "code_inline", "em_open"}
# With raw HTML and links of any kind: the most that a viewer may do.
VIEWER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
VIEWER.validateLink = lambda _: True  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ozone", "Ozone"),
        ("\x1b[31mred\x07", f"{BOX}[31mred{BOX}"),
        ("\x9b31m", f"{BOX}31m"),
        ("a\nb\r\tc", "a b c"),
        ("a\u2028b\x85c", "a b c"),
        ("ab\u202egnp.exe", f"ab{BOX}gnp.exe"),
        ("a\u2066b\u061cc\u200bd", f"a{BOX}b{BOX}c{BOX}d"),
        ("tag\U000e0041", f"tag{BOX}"),
        ("half \udcff", f"half {BOX}"),
        ("👩\u200d🔬 データ می\u200cخواهم", "👩\u200d🔬 データ می\u200cخواهم"),
        (f"x{BREAK}y", f"x{BOX}y"),
    ],
)
def test_a_name_is_one_line_that_does_nothing(text: str, shown: str) -> None:
    assert legible(text) == shown


def test_a_message_keeps_its_lines_and_their_indent() -> None:
    assert legible_lines("job.yaml:\n  2:1 \x1b[2J: no") == f"job.yaml:\n  2:1 {BOX}[2J: no"


def test_a_long_text_is_cut() -> None:
    assert one_line("a\nb\x1b" + "c" * 1000, 10) == f"a b{BOX}ccccc\u2026"
    assert one_line("c" * 160) == "c" * 160


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ozone", "Ozone"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\nb", r"'a\nb'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("ab\u202e", r"'ab\u202e'"),
        (" a", "' a'"),
        ("a  b", "'a  b'"),
        ("", "''"),
        ("a" * 61, "a" * 60),
        (3, "3"),
    ],
)
def test_an_odd_name_is_quoted(name: str | int, shown: str) -> None:
    assert quoted_if_odd(name) == shown


def test_bytes_of_the_name_of_a_file_can_be_told() -> None:
    assert file_name("in/\udcff\x1bé.csv") == rf"in/\udcff{BOX}é.csv"


@given(st.text())
def test_whatever_a_name_is_nothing_of_it_acts(text: str) -> None:
    others = (one_line(text), quoted_if_odd(text), file_name(text))
    assert all(c.isprintable() or c in JOINERS for shown in others for c in shown)
    for shown in (legible(text), in_markdown(text), in_a_table(text)):
        assert "\n" not in shown
        harmless = shown.replace(BREAK, "") if shown != legible(text) else shown
        assert all(c.isprintable() or c in JOINERS for c in harmless)
        harmless.encode()


MARKS = st.text("![]()<>&;#*_`~\\:/@.|-+ wab\n", max_size=40) | st.sampled_from(
    [
        "![x](http://h/p)",
        "<img src=x>",
        "[x](javascript:a)",
        "<http://h>",
        "[a]: http://h",
        "&lt;b>",
    ]
)


@given(MARKS)
def test_no_name_has_a_meaning_in_markdown(name: str) -> None:
    tokens = VIEWER.parse(in_markdown(name).strip())
    types = {t.type for block in tokens for t in (block, *(block.children or ()))}
    assert not types & MEANINGS


@given(MARKS)
def test_no_name_loads_or_links_in_a_table(name: str) -> None:
    tokens = VIEWER.parse(in_a_table(name))
    types = {t.type for block in tokens for t in (block, *(block.children or ()))}
    assert not types & {"image", "link_open", "html_inline", "html_block"}


@pytest.mark.parametrize(
    "name", ["www.evil.example", "WWW.evil.example", "https://evil.example", "a@evil.example"]
)
def test_what_viewers_link_by_themselves_is_broken_up(name: str) -> None:
    for shown in (in_markdown(name), in_a_table(name)):
        assert BREAK in shown
        assert shown.replace(BREAK, "").replace("&#64;", "@") == name


@pytest.mark.parametrize("name", ["x[1]", "R&D", "Price ($)", "a_b", "50% #1", "C#", "s3://b/x"])
def test_a_harmless_name_is_in_a_table_as_it_is(name: str) -> None:
    assert in_a_table(name) == name


# --- On the terminal and in the log -------------------------------------------------------------


HOSTILE = ["clear\x1b[2J", "turn\u202etxt.exe", "two\nlines", "bell\x07"]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("command", ["check", "run", "refused", "history"])
def test_no_name_of_a_column_or_level_reaches_the_terminal_or_the_log(
    write_job: WriteJob, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(60, 4)), columns=HOSTILE)
    frame.iloc[::7, 0] = None
    frame["level"] = [None, *HOSTILE] * 12
    frame.to_parquet("in.parquet")
    never = {"expect_column_values_to_be_between": {"column": HOSTILE[0], "max_value": -9}}
    job = write_job(
        source={"path": "in.parquet"},
        target={"path": "out.parquet"},
        columns={"categories": {"level": "nominal"}},
        checks={"input": [never]} if command == "refused" else {},
    )
    with caplog.at_level("INFO"):
        arguments = [["check" if command == "check" else "run", str(job)]]
        arguments += [["history", str(job)]] if command == "history" else []
        printed = "".join(CliRunner().invoke(cli.main, line).output for line in arguments)
    assert "clear" in printed
    logged = "\n".join(caplog.messages)
    for character in ("\x1b", "\u202e", "\x07"):
        assert character not in printed
        assert character not in logged
    assert "two\nlines" not in printed


@pytest.mark.usefixtures("prefect_server")
def test_json_is_all_of_stdout_whatever_a_library_prints(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from em_impute.tables import summarise

    real = summarise.summarise

    def chatty(*arguments: object) -> object:
        print("A library has something to say.")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(summarise, "summarise", chatty)
    rows = "x,y\n" + "".join(f"{i},{i * i % 7 if i % 5 else ''}\n" for i in range(40))
    result = CliRunner().invoke(cli.main, ["run", "--json", str(write_job(rows))])
    assert json.loads(result.stdout)["published"] is True
    assert "A library has something to say." in result.stderr
