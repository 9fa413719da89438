"""The run's report, in the order it is made.

`records` says what a report holds; `columns`, `distributions`, `fit`, `missingness`, `matrices` and
`drift` compute its numbers once; `verdict` puts them into a sentence. `plots` draws the numbers;
`render` lays numbers and pictures out as a page (HTML), an artifact (markdown) or a table; `brief`
says it all in a line. Templates format and nothing else.
"""
