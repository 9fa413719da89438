"""The package: its names, and its version, which stands in one place."""

from __future__ import annotations

import re
import tomllib

import pytest
from command_line import em_impute
from conftest import ROOT
from ruamel.yaml import YAML

import em_impute as package
from em_impute import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = YAML(typ="safe").load(ROOT / "CITATION.cff")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_names_are_there_when_they_are_asked_for() -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    assert package.gaussian.fit_gaussian is package.fit_gaussian
    with pytest.raises(AttributeError, match="no attribute 'impute_all'"):
        _ = package.impute_all


def test_the_version_is_that_of_the_project() -> None:
    assert __version__ == PROJECT["version"]
    assert em_impute("--version").output.split()[-1] == PROJECT["version"]


def test_the_citation_is_of_this_version() -> None:
    assert CITATION["version"] == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]


def test_the_last_release_in_the_changelog_is_this_version() -> None:
    """Or there is none yet; its date is that of the citation."""
    released = re.findall(r"^## \[([\d.]+)\] - (\S+)$", CHANGELOG, re.MULTILINE)
    assert CHANGELOG.count("\n## [Unreleased]\n") == 1
    if released:
        assert released[0] == (PROJECT["version"], str(CITATION["date-released"]))
    else:
        assert "date-released" not in CITATION
