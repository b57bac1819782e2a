import subprocess
import sys

import pytest

from radkit import RadkitError
from radkit._optional import EXTRAS, optional


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(EXTRAS, "no_such_package", "view")
    with pytest.raises(RadkitError, match=r"no_such_package.*pip install 'radkit\[view\]'") as caught:
        optional("no_such_package.part")
    assert isinstance(caught.value, ImportError)


@pytest.mark.slow
def test_monai_is_imported_without_noise_and_nothing_stays_blocked():
    code = "import sys; from radkit._optional import optional; optional('monai.bundle'); import rfc3987_syntax"
    child = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True)
    noise = [line for line in child.stderr.splitlines() if "cuda" in line.lower() or "stack size" in line]
    assert child.returncode == 0 and noise == [], child.stderr
