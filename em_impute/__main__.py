"""`python -m em_impute`: the command line, where its script is not on the path."""

from em_impute.cli.main import main

main()
