"""MAPs and applications that are not as ours are: what they do is told in words, and ends."""

import json
import os

import pytest

import radkit as rk
from radkit.errors import DeployError, InputRefused


def strange_map(folder, command="python3 app.py", result=""):
    """A MAP whose application writes ``result`` as its result.json."""
    for name in ("etc/holoscan", "var/holoscan", "input"):
        (folder / name).mkdir(parents=True)
    (folder / "etc" / "holoscan" / "app.json").write_text(json.dumps({"command": command}))
    (folder / "var" / "holoscan" / "app.py").write_text(
        f"import os, pathlib\npathlib.Path(os.environ['HOLOSCAN_OUTPUT_PATH'], 'result.json').write_text({result!r})\n"
    )
    return folder


def test_a_result_of_another_form_is_no_result(tmp_path):
    strange = strange_map(tmp_path, result='["done"]')
    assert rk.deploy.run_map(strange, strange / "input", tmp_path / "out", progress=False).result == {}


@pytest.mark.parametrize("series", ["3", '[{"reason": "no CT"}]'])
def test_a_refusal_of_another_form_is_a_refusal(series, tmp_path):
    strange = strange_map(tmp_path, result=f'{{"status": "refused", "reason": "no CT", "series": {series}}}')
    with pytest.raises(InputRefused, match=r"refused its input: no CT$"):
        rk.deploy.run_map(strange, strange / "input", tmp_path / "out", progress=False)


@pytest.mark.parametrize("command", ["", None])
def test_a_map_without_a_command_is_told(command, tmp_path):
    strange = strange_map(tmp_path, command)
    with pytest.raises(DeployError, match=r"app\.json cannot be used"):
        rk.deploy.run_map(strange, strange / "input", tmp_path / "out")


def test_an_index_that_leads_back_to_itself_is_read_to_an_end(tmp_path):
    index, blob = json.dumps({"manifests": [{"digest": f"sha256:{'a' * 64}"}]}), tmp_path / "blobs/sha256" / ("a" * 64)
    blob.parent.mkdir(parents=True)
    for file in (tmp_path / "index.json", blob):
        file.write_text(index)
    assert "cannot be read to its end" in str(rk.deploy.lint_map(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have a name")
def test_a_pipe_in_an_image_is_not_waited_for(tmp_path):
    pipe = tmp_path / "blobs/sha256" / ("b" * 64)
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    (tmp_path / "index.json").write_text(json.dumps({"config": {"digest": f"sha256:{'b' * 64}"}, "layers": []}))
    assert "(ValueError)" in str(rk.deploy.lint_map(tmp_path))
