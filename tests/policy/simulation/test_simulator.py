"""What is missing is said in one line: the extra, or the Debian package of the renderer."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("metaworld", reason="the extra 'sim' is not installed")

CHECK = """
import sys
from worldtune.errors import UserError
{hide}
from worldtune.policy.simulation.simulator import check_simulator
try:
    check_simulator()
except UserError as error:
    print(error)
else:
    print("ready")
"""
WITHOUT_METAWORLD = "sys.modules['metaworld'] = None"
WITHOUT_OSMESA = """
import ctypes
import ctypes.util
real_open, real_find = ctypes.CDLL.__init__, ctypes.util.find_library
def open_library(self, name, *args, **kwargs):
    if name and "OSMesa" in str(name):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    real_open(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = open_library
ctypes.util.find_library = lambda name: None if "OSMesa" in name else real_find(name)
"""


def check(hide: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    command = [sys.executable, "-c", CHECK.format(hide=hide)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_installed_simulator_renders_with_osmesa_by_default() -> None:
    assert check("") == "ready"


def test_missing_package_names_the_extra() -> None:
    assert check(WITHOUT_METAWORLD) == (
        "the simulator is not installed: no module metaworld [sim]. Run: pip install 'worldtune[sim]'."
    )


def test_missing_renderer_names_the_debian_package() -> None:
    assert check(WITHOUT_OSMESA) == (
        "the rendering library of MUJOCO_GL=osmesa cannot be loaded [sim]. "
        "Install it, on Debian and Ubuntu: apt install libosmesa6."
    )
