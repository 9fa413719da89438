"""Take docs/data_docs.png of the Data Docs that the example of docs/great-expectations.md writes.

``PYTHONPATH=tests python docs/data_docs.py`` runs the job and takes the picture again.
"""

from __future__ import annotations

import os
import re
import runpy
import tempfile
from pathlib import Path

from chromium import launched

from em_impute.flows.direct import run_directly
from em_impute.job import load_job

DOCS = Path(__file__).parent


def example(folder: Path) -> Path:
    """Run the page's example in a folder; its page of Data Docs."""
    text = (DOCS / "great-expectations.md").read_text()
    code, job = (
        re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
        for language in ("python", "yaml")
    )
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("data").symlink_to(DOCS.parent / "data")
        Path("project.py").write_text(code)
        runpy.run_path("project.py")
        Path("job.yaml").write_text(job)
        run_directly(load_job(Path("job.yaml")))
        [page] = Path("gx/uncommitted/data_docs/local_site/validations").rglob("*.html")
        return page.absolute()
    finally:
        os.chdir(before)


def picture(page: Path, file: Path) -> None:
    """Take a picture of a page, which loads its styles from the network."""
    with launched() as browser:
        view = browser.new_page(viewport={"width": 1000, "height": 700})
        view.goto(page.as_uri(), wait_until="networkidle")
        view.add_style_tag(content="footer, .navbar { display: none !important }")
        view.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        picture(example(Path(folder)), DOCS / "data_docs.png")
