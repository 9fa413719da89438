"""From a staged table to files at a target.

What is `staged` is written in a format (`formats`, by the types in `counterparts`), put together
with the rows that are there (`merging`), and takes its place (`places`) as a `single_file` or as a
folder in `versions` and `partitions`. `publications` remembers what was published. `file_target`
is the one step that does all this, one writer at a time (`locks`).
"""
