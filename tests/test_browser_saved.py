"""What is left of a view in a notebook that is opened again: a picture, and in words how to get more."""

import subprocess
import sys

import nbformat
import numpy as np
import pytest
from browser import open_notebook
from test_browser import READ, SHOW, code

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def source(small_ct, tmp_path):
    np.save(tmp_path / "mask.npy", small_ct.mask.array)
    read = READ.format(folder=str(small_ct.folder), mask=str(tmp_path / "mask.npy"))
    nbformat.write(code(read, SHOW), tmp_path / "source.ipynb")
    return tmp_path / "source.ipynb"


def orange(session, picture) -> int:
    """Return how many pixels are orange, as the first structure is: a JPEG does not keep a colour exactly."""
    red, green, blue = np.moveaxis(session.shot(picture), -1, 0)
    return int(((red - green > 25) & (green - blue > 25)).sum())


def test_after_papermill_an_untrusted_notebook_shows_the_still_picture(source):
    papermill = [sys.executable, "-m", "papermill", "source.ipynb", "reopened.ipynb", "--no-progress-bar"]
    subprocess.run(papermill, cwd=source.parent, check=True)
    assert source.with_name("reopened.ipynb").stat().st_size < 700_000
    with open_notebook(source.with_name("reopened.ipynb")) as session:
        picture = session.page.locator(".jp-OutputArea-output img")
        picture.wait_for()
        assert orange(session, picture) > 100
        session.screenshot("page")


def test_a_trusted_notebook_shows_its_picture_when_its_kernel_is_gone(source):
    with open_notebook(source) as session:
        session.name = "saved"
        session.run_all()
        session.wait()
        session.ready(0)
        for menu, command, method, path in (
            ("File", "docmanager:save", "PUT", "/api/contents/"),
            ("Kernel", "kernelmenu:shutdown", "DELETE", "/api/sessions/"),
        ):
            session.page.locator(".lm-MenuBar-item", has_text=menu).click()
            done = lambda answer, of=(method, path): answer.request.method == of[0] and of[1] in answer.url  # noqa: E731
            with session.page.expect_response(done):
                session.page.locator(f'.lm-Menu [data-command="{command}"]').first.click()
        session.page.reload()
        picture = session.page.locator(".radkit-view[data-state=saved] img.radkit-saved")
        picture.wait_for()
        assert "overlay: nodule" in picture.get_attribute("alt") and orange(session, picture) > 100
        assert "run this cell again" in session.page.locator(".radkit-probe").inner_text()
        assert session.report.errors == [] and session.report.outside == []
        session.screenshot("kernel-gone")
