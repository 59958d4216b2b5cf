"""The programs that the tests start.

The paths of those that are built here come from the environment; `cargo xtask test` sets them.
"""

import os
import pathlib
import shutil


def binary(variable):
    path = pathlib.Path(os.environ.get(variable, ""))
    assert path.is_file(), f"{variable} names no binary: run `cargo xtask test --only e2e`"
    return path


def program(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert path, f"{name} is missing: run `cargo xtask test --only e2e`, which installs it"
    return path
