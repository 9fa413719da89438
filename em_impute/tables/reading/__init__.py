"""From a source to rows of one meaning: files and folders in each format, and their oddities.

`files` are found, here or at a URL, and are of their kind (`kinds`). Each format is read by itself:
`csv_text` (as `csv_dialects` make it plain), `json_lines`, `arrow_files` (whose types are `unified`
over several files); `folders` make one table of them. What is kept of cells depends on the
`purpose`; which are `missing`, on the job. `digits` says which texts are numbers; `profiles`, with
`oddities`, what is known of each column.

What stands for a missing cell is a `Missing` here, made of the `MissingSpellings` of a job; how a
file's text is encoded is a `TextEncoding` of the job, and no `Encoding` of a column.
"""
