"""The run's report, in the order it is made.

`diagnostics` computes the numbers once, as typed records; `plots` draws them; `render` lays
numbers and pictures out as a page (HTML), an artifact (markdown) or a table; `brief` says it all in
a line. Templates format and nothing else.
"""
