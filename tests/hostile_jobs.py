"""Job files as nobody should write them, for the tests that read them: hypothesis strategies.

`job_files` starts from jobs that load, puts hostile values, keys and YAML at places that it draws,
and writes them out; `damaged_files` then changes bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any

from hypothesis import strategies as st


class Raw(str):
    """Text that stands in the YAML as it is."""

    __slots__ = ()


# Between them they have every key that a job may have.
JOBS: list[dict[str, Any]] = [
    {
        "name": "air",
        "source": {"path": "in.csv", "format": "csv"},
        "columns": {
            "impute": ["y"],
            "predictors": ["x"],
            "key": ["k"],
            "transform": {"y": "log", "x": {"logit": [0, 100]}},
            "back_transform": "mean",
            "bounds": {"y": [0, None]},
            "bounds_violated": "keep",
            "round": ["y"],
        },
        "model": {
            "tol": 1e-6,
            "max_iter": 100,
            "prior": "auto",
            "acceleration": "squarem",
            "time_limit": 60,
            "min_group_rows": 5,
        },
        "imputation": {"method": "draw", "seed": 7, "mask": True},
        "checks": {
            "input": [
                {"expect_column_values_to_not_be_null": {"column": "x", "severity": "info"}},
                {"expect_column_values_to_match_regex": {"column": "g", "regex": "^[ab]$"}},
                {
                    "expect_column_mean_to_be_between": {
                        "column": "x",
                        "min_value": 0,
                        "row_condition": 'col("x") > 1',
                    }
                },
            ],
            "output": [{"expect_table_row_count_to_equal": {"value": 12}}],
            "max_rows": 1000,
        },
        "target": {
            "path": "out/t",
            "format": "parquet",
            "mode": "upsert",
            "partition_by": ["g"],
            "keep_versions": 2,
            "lock_timeout": 1,
        },
        "batch_rows": 5,
        "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Paris"},
    },
    {
        "name": "b-2",
        "source": {"url": "sqlite:///in.sqlite", "query": "select * from t"},
        "columns": {"categories": {"g": "nominal"}, "group_by": []},
        "target": {"url": "duckdb:///out.duckdb", "table": "main.t", "mode": "append"},
        "schedule": {"interval": "PT1H"},
    },
    {
        "name": "c",
        "source": {"url": "duckdb:///in.duckdb", "table": "t"},
        "columns": {"categories": {"g": ["a", "b"]}, "round": True},
        "target": {"path": "out.jsonl"},
    },
    {
        "name": "d",
        "source": {"url": {"env": "WAREHOUSE_URL"}, "password": {"env": "PW"}, "table": "a.b"},
        "target": {"url": "postgresql://127.0.0.1:1/d", "password": {"env": "PW"}, "table": "c"},
    },
]

TEXTS = [
    "",
    " ",
    "\0",
    "\n",
    "~",
    "-",
    "x",
    "a" * 300,
    "a" * 5000,
    "/" * 300,
    "é\u202eß\u0301",
    "😀",
    "\x1b[2J",
    '"',
    "'; DROP TABLE t; --",
    '"); drop table t; --',
    "{{ 7 * 7 }} ${HOME} %s %(x)s {0} {date:%Y}",
    "<script>alert(1)</script>",
    "!!python/object/apply:os.system ['true']",
    "NaN",
    "1e999",
    # paths
    ".",
    "..",
    "/",
    "../" * 30 + "etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "pipe",
    "in.csv",
    "in.csv/x.csv",
    "in.sqlite",
    "link/x.csv",
    "a\0.csv",
    "CON.csv",
    # URLs
    "file:///etc/passwd",
    "FILE://host/etc/passwd",
    "local:///etc/passwd",
    "zip://x.csv::file:///etc/passwd",
    "memory://x.csv",
    "s3://key:secret@bucket/x.csv",
    "https://u:p\u2100@h/x.csv",
    "http://[::1",
    "postgresql://u:p@h/d",
    "postgresql://127.0.0.1:x/d",
    "mysql://h/d",
    "sqlite:///../../x.db",
    "sqlite:///%00",
    "sqlite:///:memory:",
    "sqlite:///.",
    "sqlite:///in.csv",
    "duckdb:///md:x",
    "duckdb:////etc/passwd",
    "duckdb:///in.duckdb?x",
    # SQL
    "select 1; attach 'x.db' as x",
    "copy (select 1) to 'stolen.csv'",
    "from read_csv('/etc/passwd')",
    "select * from t -- ",
    "select 1) union select (2",
    "((",
    'main."t"',
    'a."b.c".d',
    # regular expressions, schedules, durations
    "(a+)+$",
    "[",
    "* * * * *",
    "61 25 32 13 8",
    "0 0 31 2 *",
    "P99999999999D",
    "PT0S",
    "99999999999:00:00",
    "Mars/Olympus",
    "../../etc/localtime",
    # words with a meaning elsewhere
    "auto",
    "nominal",
    "upsert",
    "parquet",
    "critical",
    "expect_column_to_exist",
    "expect_column_values_to_match_json_schema",
    "unexpected_rows_expectation",
    'col("x") > 1 and __import__("os")',
]

NUMBERS = [
    0,
    -1,
    1,
    2,
    2**31,
    2**63,
    10**30,
    10**300,
    -0.0,
    0.5,
    1e-320,
    1e308,
    True,
    False,
    None,
]

YAML = [
    Raw(text)
    for text in (
        "*a",
        "*nope",
        "&a [x, *a]",
        "&a x",
        "!!int x",
        "!!float 1.5",
        "!!binary aGVsbG8=",
        "!!python/name:os.system ''",
        "!!set {a, b}",
        "!secret x",
        "!!null ''",
        "!<tag:yaml.org,2002:str> 1",
        ".inf",
        "-.INF",
        ".nan",
        "0x" + "f" * 2000,
        "0o777777777777777777777777",
        "0b1",
        "9" * 400,
        "9" * 5000,
        "1" + "_0" * 50,
        "1e400",
        "1e-400",
        "190:20:30",
        "2001-12-14t21:59:43.10-05:00",
        "{<<: {path: in.csv}, format: csv}",
        "{? [a, b] : c}",
        "{? {a: b} : c}",
        "{a: 1, a: 2}",
        "{null: 1, true: 2, 3: 4, 1.5: 5}",
        r'"\ud800"',
        r'"\x00\x1b"',
        r'"\U00999999"',
        "[" * 60 + "]" * 60,
        "{a: " * 60 + "x" + "}" * 60,
        "[" * 600,
        "'",
        '"',
        "[",
        "}",
        "@x",
        "`x`",
        "%x",
        "|\n x",
        ">-\n x",
        "# x",
        "? ",
        "\t",
        "\x85",
        "\u2028",
        "\ufeff",
    )
]

SCRAPS = [
    *(raw.encode("utf-8", "surrogatepass") for raw in YAML),
    *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
    *(
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\n",
        b"\n\n  ",
        b"\n---\n",
        b"\n...\n",
        b": ",
        b"- ",
    ),
    *(b"%YAML 1.1\n---\n", b"%TAG ! !x\n---\n", b"&a ", b"*a ", b"&a &b ", b"? ", b"| ", b"#"),
]

KEYS = [
    *sorted(JOBS[0]),
    *sorted(
        {key for job in JOBS for part in job.values() if isinstance(part, dict) for key in part}
    ),
    *("column", "column_list", "min_value", "value_set", "mostly", "json_schema", "logit", "env"),
]

COLUMNS = ["k", "x", "y", "g", "z"]
EXPECTATIONS = {
    "expect_column_to_exist": ["column", "column_index"],
    "expect_column_values_to_be_between": ["column", "min_value", "max_value", "mostly"],
    "expect_column_values_to_be_in_set": ["column", "value_set", "mostly", "row_condition"],
    "expect_column_values_to_match_regex": ["column", "regex"],
    "expect_column_values_to_match_json_schema": ["column", "json_schema"],
    "expect_column_values_to_match_strftime_format": ["column", "strftime_format"],
    "expect_column_quantile_values_to_be_between": [
        "column",
        "quantile_ranges",
        "allow_relative_error",
    ],
    "expect_column_kl_divergence_to_be_less_than": ["column", "partition_object", "threshold"],
    "expect_column_pair_values_to_be_equal": ["column_A", "column_B", "ignore_row_if"],
    "expect_compound_columns_to_be_unique": ["column_list", "description"],
    "expect_table_row_count_to_equal": ["value", "notes"],
    "unexpected_rows_expectation": ["unexpected_rows_query", "description"],
}

texts = st.sampled_from(TEXTS) | st.text(max_size=20)
numbers = st.sampled_from(NUMBERS) | st.integers() | st.floats()
leaves = texts | numbers | st.sampled_from(YAML)
many = st.builds(lambda value, times: [value] * times, leaves, st.sampled_from([2, 50, 2000]))
values = many | st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=4)
    ),
    max_leaves=6,
)


checks = st.sampled_from(sorted(EXPECTATIONS)).flatmap(
    lambda name: st.fixed_dictionaries(
        {},
        optional={
            option: st.sampled_from(COLUMNS) if option.startswith("column") else values
            for option in [*EXPECTATIONS[name], "severity"]
        },
    ).map(lambda options: {name: options})
)


def written(value: Any) -> str:
    """A value as YAML in flow style, which is JSON but for what `Raw` puts in."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(k)}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a job, its own included."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


# Every value of the jobs: a right one, mostly at a wrong place.
PARTS = [reduce(getitem, path, job) for job in JOBS for path in places(job) if path]


def put(job: Any, path: tuple[Any, ...], change: str, key: str, value: Any) -> Any:
    """Replace or remove what is at a place of a job, or add something beside it."""
    if not path:
        return value if change == "replace" else job
    *above, last = path
    parent = reduce(getitem, above, job)
    if change == "remove":
        del parent[last]
    elif change == "add" and isinstance(parent, dict):
        parent[key] = value
    else:
        parent[last] = value
    return job


@st.composite
def job_files(draw: st.DrawFn) -> str:
    """Draw the text of a job file: a job that loads, with a few places changed."""
    job = deepcopy(draw(st.sampled_from(JOBS)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        path = draw(st.sampled_from(list(places(job))))
        change = draw(st.sampled_from(["replace", "replace", "replace", "add", "remove"]))
        value = deepcopy(draw(st.one_of(values, leaves, st.sampled_from(PARTS))))
        job = put(job, path, change, draw(st.sampled_from(KEYS) | texts), value)
    return written(job)


DATABASES = ["sqlite:///in.sqlite", "duckdb:///in.duckdb"]
QUERIES = [text for text in TEXTS if " " in text] + [
    "select * from t",
    "select x, y, 0 as z from t",
]
names = st.lists(st.sampled_from(COLUMNS) | texts, max_size=2, unique=True)
amounts = st.sampled_from([0, 1, 0.5, -1e300, 1e-300]) | st.floats(
    allow_nan=False, allow_infinity=False
)

# Jobs that mostly load: what is odd about them, only the table and the checks can tell.
odd_jobs = st.fixed_dictionaries(
    {
        "name": st.just("odd"),
        "source": st.one_of(
            st.builds(
                dict,
                path=st.sampled_from(["in.csv", "in.csv", "in.sqlite", "pipe", "link"]),
                format=st.just("csv"),
            ),
            st.builds(dict, url=st.sampled_from(DATABASES), query=st.sampled_from(QUERIES)),
            st.builds(
                dict,
                url=st.sampled_from(DATABASES),
                table=st.sampled_from(["t", '"t"', "x.t", '"; drop table t"']),
            ),
        ),
        "target": st.one_of(
            st.builds(
                dict,
                path=st.sampled_from(
                    ["out.csv", "out.parquet", "out/a/b.jsonl", "pipe.csv", "link/x.csv"]
                ),
            ),
            st.builds(dict, path=st.just("parts"), format=st.just("parquet"), partition_by=names),
            st.builds(
                dict,
                url=st.sampled_from(["sqlite:///out.sqlite", "duckdb:///out.duckdb"]),
                table=texts,
            ),
        ),
    },
    optional={
        "columns": st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(["impute", "predictors", "key", "group_by", "round"], names),
                "transform": st.dictionaries(
                    st.sampled_from(COLUMNS), st.sampled_from(["log", "cbrt"]), max_size=1
                ),
                "bounds": st.dictionaries(
                    st.sampled_from(COLUMNS), st.tuples(amounts, amounts).map(sorted), max_size=1
                ),
                "categories": st.dictionaries(
                    st.sampled_from(COLUMNS),
                    st.sampled_from(["nominal", ["a", "b"], ["b", "c"]]),
                    max_size=1,
                ),
            },
        ),
        "imputation": st.builds(dict, method=st.sampled_from(["mean", "draw"]), mask=st.booleans()),
        "batch_rows": st.sampled_from([1, 2, 10_000_000]),
        "checks": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(["input", "output"], st.lists(checks, max_size=2))
        ),
    },
).map(written)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a job file, some of them lost, repeated or replaced, in any encoding."""
    text = draw(job_files())
    data = text.replace(", ", ",\n  ").encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        lost = draw(st.sampled_from([0, 0, 1, 2, 20]))
        scrap = draw(st.sampled_from(SCRAPS) | st.binary(max_size=4))
        data = data[:at] + scrap + data[at + lost :]
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1"]))
    if encoding != "utf-8":
        data = data.decode("utf-8", "replace").encode(encoding, "replace")
    return data.replace(b"\n", draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])))
