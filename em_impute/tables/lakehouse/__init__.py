"""Tables of a lakehouse: read at one version, written in one commit.

`delta` and `iceberg` open a table of their format and say in sentences what is wrong with one;
`delta_source` and `iceberg_source` read it at a version, `delta_target` and `iceberg_target`
publish to it, once for each run; of Iceberg, `iceberg_files` writes the files. What both formats
share is in `versions`, where one is read, in `commits`, where one is published, and in
`published_rows`, which compares what is there with what was published. The libraries come with
extras, and are imported where they are used.
"""
