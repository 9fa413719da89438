"""Small inputs that failed once, each with what is right: `python -m tests.field`, by hand.

`make test` runs the same tests; they stand in tests/test_field.py.
"""

import sys
from pathlib import Path

import pytest

sys.exit(pytest.main([str(Path(__file__).parents[1] / "test_field.py"), "-rA", *sys.argv[1:]]))
