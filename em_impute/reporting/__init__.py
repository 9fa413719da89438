"""The run's report, in the order it is made.

`records` says what a report holds; `columns`, `distributions`, `fit`, `missingness`, `matrices`,
`means`, `sensitivity`, `imputations`, `rows_of_model` and `drift` compute its numbers, once;
`verdict` puts them into a sentence.
`plots` and `self_test_plots` draw the numbers, and `pictures` says what each picture shows;
`render` lays numbers and pictures out as a page (HTML), an artifact (markdown) or a table, by
templates that format and nothing else; `brief` is the report in a line.

What the records are called:

Report
    All that a run's report holds, as report.json keeps it.
Verdict, Ending
    How the run ended: published, published with warnings or not published (`Ending`), and why.
Brief
    The verdict and the counts, as `em-impute history` lists them.
Column, ImputedCells
    A column of the table, and the cells that were filled in it.
Distribution, LevelCounts
    Observed and imputed cells of a column of numbers, by bins; of a category, by levels.
Fit, GroupRow
    How EM went on all rows (made of a `FittedModel`), and on a group of them (of a `GroupFit`).
Components
    Those of a mixture: their sizes and means, BIC, and where they lie.
Factors
    Those of a factor model: what they explain, the columns' loadings, and BIC.
RowsOfModel
    Of how many rows the model is, and how many of them a job's state has kept.
CheckRow
    One check with its result (made of a `CheckResult`).
SelfTest
    What the self-test found; it is the room `self_test` that makes it.
"""
