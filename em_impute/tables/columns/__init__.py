"""What each column is to the model, how it becomes numbers, and what does not fit.

`roles` assigns the parts, with the `options` that the job has for a column and the `objections` to
it; an `encoding`, of `numbers` (perhaps with one of the `transforms`) or of `categories`, takes
cells into the model and back. Of the table as it was read, `doubts` are what may be meant
otherwise, `hints` what a column looks like, `misfits` cells beyond limits, and `unfilled` what
stays missing. `proposals` make of the hints what a first job may say, by `trials` on the
observed cells; `suggestions` are what of it a job does not say.

What the classes are called:

Roles
    The part of every column, and its encoding.
Encoding, Filling
    How a column takes part in the model; a `Filling` one can be filled, too.
Numeric, Instant, Nominal, Ordinal
    The encodings: of numbers, of times, of categories without and with an order.
Transform
    The function through which the model sees a column of numbers; what the job says of it is a
    `TransformOption`.
"""
