"""A model in SQL: what a database needs to fill a table itself, without a row leaving it.

A *dialect* is how a database writes it (`dialects`). Cells become columns of the model in standard
deviations (`cells`); the *patterns* of the table get their regression coefficients, from a table
that is sent (`slopes`) or, where a query has to stand by itself, by the sweep operator (`sweep`);
what is expected of a cell becomes a value of its column (`expected`). `select` puts these together
into one SELECT; `dbt` makes a model of dbt's of it, and `filling` a table.
`summary` sums a table up for EM where it stands. Of a job whose table stays there `whole` asks what
is true of all rows and reads a sample, and in `staging` the filled rows wait to be published.
"""
