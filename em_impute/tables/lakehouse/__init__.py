"""Tables of a lakehouse: read at one version, written in one commit.

`delta` opens a Delta table and says in sentences what is wrong with one; `delta_source` reads it at
a version, `delta_target` publishes to it, once for each run, and `delta_rows` compares what is
there with what was published. The library comes with an extra, and is imported where it is used.
"""
