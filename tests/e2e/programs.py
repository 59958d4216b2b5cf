"""The programs that the tests start.

The environment has the paths of those that this workspace builds; `cargo xtask test` sets them.
"""

import os
import pathlib
import platform
import shutil
import subprocess

NODE_FOLDER = pathlib.Path(__file__).parent / "node"


def binary(variable):
    path = pathlib.Path(os.environ.get(variable, ""))
    assert path.is_file(), f"{variable} names no binary: run `cargo xtask test --only e2e`"
    return path


def program(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert path, f"{name} is missing: run `cargo xtask test --only e2e`, which installs it"
    return path


def node():
    """The Node.js of the packages: some of them need a newer one than Debian's."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    path = NODE_FOLDER / f"node_modules/node-linux-{machine}/bin/node"
    assert path.is_file(), f"{path} is missing: run `cargo xtask test --only e2e`"
    return path


def run_node(script, *args, package=None, **kwargs):
    """Runs one of our scripts, or a package's program, to its end."""
    path = NODE_FOLDER / "node_modules" / package / script if package else NODE_FOLDER / script
    # Redocly's program sends statistics and checks for updates by default.
    env = os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return subprocess.run(
        [node(), path, *args], capture_output=True, text=True, timeout=60, env=env, **kwargs
    )
