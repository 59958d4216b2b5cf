"""The modules of the player that don't need a page, by their own tests in Node.js."""

import pathlib
import subprocess

import pytest

from programs import node

TESTS = pathlib.Path(__file__).parents[2] / "crates/headwater/src/docs/tests"


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.test.mjs")), ids=lambda path: path.name)
def test_a_module_does_what_its_tests_say(path):
    run = subprocess.run([node(), "--test", path], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "fail 0" in run.stdout and "pass 0" not in run.stdout
