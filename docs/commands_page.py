"""The page `commands.md`: each command with its arguments and options, from the parser itself."""

from __future__ import annotations

from inspect import cleandoc

import click

INTRO = """\
# Commands

What `em-impute COMMAND --help` prints. `python -m em_impute` is the same program, and your shell
[completes its commands, options and job files](quickstart.md#install).

| exit code | meaning |
|---|---|
| 0 | The table was published, or verified; or what was asked for was done. |
| 1 | Refused by checks, self-test or fit, or would be (`check`); found another table (`verify`). |
| 2 | The job file, its source or its target is wrong, or the command line is. |
| 3 | Anything else, such as a full disk. |
| 130, 143 | Interrupted, by Ctrl-C or by SIGTERM. |
"""


def commands_page(program: click.Group, name: str) -> str:
    """Every command in the order in which the program defines them, as Markdown."""
    context = click.Context(program, info_name=name)
    sections = [_section(command, context) for command in program.commands.values()]
    return "\n".join([INTRO, *sections])


def _section(command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, parent=parent, info_name=command.name)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [record for one in options if (record := one.get_help_record(context))]
    rows = [f"| `{_cell(option)}` | {_text(meaning)} |" for option, meaning in records]
    parts = [f"## {command.name}", f"```sh\n{usage}\n```", cleandoc(command.help or "")]
    return "\n\n".join([*parts, "\n".join(["| option | meaning |", "|---|---|", *rows])]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _text(words: str) -> str:
    """What click adds to an option's help, such as its default, is in brackets, and no link."""
    return _cell(words).replace("[", "\\[").replace("*", "\\*")
