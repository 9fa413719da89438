"""What PostgreSQL's catalog says of a table that is to be written.

Its columns; what may come between a statement and the rows that it should write; which privileges
this role lacks, with the GRANT that gives them; which foreign keys are in the way. Each function
takes a way to run SQL, and the table's name as SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Run = Callable[..., list[tuple[Any, ...]]]

# A type without its length first, to cast to: a cast cuts a text that is too long, an insert
# refuses it.
COLUMNS = """
    SELECT a.attname::text, format_type(a.atttypid, -1), format_type(a.atttypid, a.atttypmod),
        format_type(coalesce(nullif(t.typbasetype, 0), t.oid), -1), a.attgenerated <> '',
        a.attidentity = 'a',
        (a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND a.attidentity = ''
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

# Columns whose default is the next number of a sequence.
NUMBERED = """
    SELECT a.attname::text FROM pg_attribute AS a
    JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass($1) AND a.attgenerated = ''
    AND pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%'
"""

# A type by its number, or else by its name in whatever schema: strings, network addresses, bits and
# enums are known by their text.
TEXT_LIKE = """
    SELECT max(typname)::text,
        bool_and(typtype = 'e' OR typtype = 'b' AND typcategory IN ('S', 'I', 'V'))
    FROM pg_type WHERE CASE WHEN $1 > 0 THEN oid = $1::bigint::oid ELSE typname = $2 END
"""

# The table and its partitions, whose triggers fire too.
_FAMILY = (
    "SELECT to_regclass($1)::oid UNION SELECT relid::oid FROM pg_partition_tree(to_regclass($1))"
)
_BETWEEN = f"""
    SELECT 'its trigger ' || tgname FROM pg_trigger
    WHERE tgrelid IN ({_FAMILY}) AND NOT tgisinternal AND tgenabled <> 'D'
    UNION SELECT 'its rule ' || rulename FROM pg_rewrite
    WHERE ev_class = to_regclass($1) AND ev_type <> '1' AND ev_enabled <> 'D'
    UNION SELECT 'its row security' WHERE row_security_active(to_regclass($1))
    UNION SELECT 'that it is a ' || CASE relkind WHEN 'v' THEN 'view' ELSE 'foreign table' END
    FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('v', 'f')
    ORDER BY 1
"""


def between(run: Run, table: str) -> list[str]:
    """What may have other rows in the table than are sent to it, in words."""
    return [name for (name,) in run(_BETWEEN, table)]


def missing_grants(run: Run, table: str, privileges: Sequence[str]) -> str | None:
    """The GRANT that this role lacks for a table; a privilege for some of its columns is enough.

    Parameters
    ----------
    run : callable
        Runs SQL.
    table : str
        Its name in SQL.
    privileges : sequence of str
        Such as INSERT.
    """
    missing = []
    for privilege in privileges:
        by_column = privilege in ("SELECT", "INSERT", "UPDATE")
        also = " OR has_any_column_privilege(to_regclass($1), $2)" if by_column else ""
        has = f"SELECT has_table_privilege(to_regclass($1), $2){also}"
        [(granted,)] = run(has, table, privilege)
        if not granted:
            missing.append(privilege)
    return f"GRANT {', '.join(missing)} ON {table} TO {_role(run)}" if missing else None


def missing_in_schema(run: Run, schema: str) -> str | None:
    """The GRANT that this role lacks to make a table in a schema, if there is that schema."""
    found = run(
        "SELECT has_schema_privilege(oid, 'CREATE'), has_schema_privilege(oid, 'USAGE') "
        "FROM pg_namespace WHERE nspname = $1",
        schema,
    )
    if not found or all(found[0]):
        return None
    name = '"{}"'.format(schema.replace('"', '""'))
    return f"GRANT USAGE, CREATE ON SCHEMA {name} TO {_role(run)}"


def missing_in_database(run: Run) -> str | None:
    """The GRANT that this role lacks to make temporary tables."""
    [(granted, database)] = run(
        "SELECT has_database_privilege(current_database(), 'TEMPORARY'), "
        "quote_ident(current_database())"
    )
    return None if granted else f"GRANT TEMPORARY ON DATABASE {database} TO {_role(run)}"


def _role(run: Run) -> str:
    [(role,)] = run("SELECT quote_ident(current_user)")
    return str(role)


def references(run: Run, table: str) -> list[tuple[str, str, bool, str]]:
    """Foreign keys of other tables that refer to this one, and are checked at once.

    Name, the referring table in SQL, whether deleting rows changes that table, and the condition
    that a row of it refers to one.
    """
    return [
        (name, child, cascades, condition)
        for name, child, cascades, condition in run(
            "SELECT c.conname::text, c.conrelid::regclass::text, c.confdeltype IN ('c', 'n', 'd'), "
            "(SELECT string_agg(quote_ident(a.attname) || ' IS NOT NULL', ' AND ') "
            "FROM pg_attribute AS a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)) "
            "FROM pg_constraint AS c WHERE c.confrelid = to_regclass($1) AND c.contype = 'f' "
            "AND c.conrelid <> c.confrelid AND c.conparentid = 0 "
            "AND (c.confdeltype <> 'a' OR NOT c.condeferrable) ORDER BY 3 DESC, 1",
            table,
        )
    ]


def foreign_keys(run: Run, table: str) -> list[tuple[str, str, list[str], list[str]]]:
    """Foreign keys of a table: name, the table that they refer to, its own columns, the other's."""
    of = (
        "(SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.{1}) WITH ORDINALITY "
        "AS k(num, n) JOIN pg_attribute AS a ON a.attrelid = c.{0} AND a.attnum = k.num)"
    )
    own, theirs = of.format("conrelid", "conkey"), of.format("confrelid", "confkey")
    return [
        (name, other, mine, others)
        for name, other, mine, others in run(
            f"SELECT c.conname::text, c.confrelid::regclass::text, {own}, {theirs} "
            "FROM pg_constraint AS c WHERE c.conrelid = to_regclass($1) AND c.contype = 'f' "
            "AND c.conrelid <> c.confrelid AND has_table_privilege(c.confrelid, 'SELECT') "
            "ORDER BY 1",
            table,
        )
    ]
