"""The tour read by a TypeScript client that @hey-api/openapi-ts generated from its document."""

import json
import shutil
import subprocess

import pytest
import requests

from arrivals import assert_spaced
from programs import NODE_FOLDER, node, run_node

TYPES = NODE_FOLDER / "node_modules/@types"


@pytest.fixture(scope="module")
def program(tour, tmp_path_factory):
    """The compiled program that reads `/ticks`."""
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    document.write_text(requests.get(tour.url("/openapi.json"), timeout=10).text)
    generated = run_node(
        *("bin/run.js", "--file", NODE_FOLDER / "openapi-ts.config.mjs"),
        package="@hey-api/openapi-ts",
        cwd=folder,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr

    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(NODE_FOLDER / "read_ticks.ts", folder)
    compiled = run_node(
        *("bin/tsc", "--strict", "--target", "es2022", "--module", "nodenext"),
        *("--typeRoots", TYPES, "--types", "node", "--outDir", folder, folder / "read_ticks.ts"),
        package="typescript",
    )
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    return folder / "read_ticks.js"


def test_it_compiles_and_gives_each_typed_item_as_it_is_sent(tour, program):
    command = [node(), program, tour.url(""), "4", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = [json.loads(line) for line in process.stdout]
        assert process.wait(timeout=10) == 0
    *ticks, end = printed
    assert [tick["n"] for tick in ticks] == [1, 2, 3, 4]
    assert all(float(tick["price"]) > 0 for tick in ticks)
    assert_spaced([(tick["at"] / 1000, tick) for tick in ticks], 1)
    assert end == {"end": {"items": 4}}
