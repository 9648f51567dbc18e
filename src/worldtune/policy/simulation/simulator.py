"""Open the simulator: say in one line what is missing if it cannot be imported."""

import os
from importlib import import_module

from worldtune.errors import UserError

GL_PACKAGES = {"osmesa": "libosmesa6", "egl": "libegl1", "glfw": "libglfw3"}


def check_simulator() -> None:
    """Raise UserError if Meta-World or the library that renders its scenes is missing.

    Renders on the CPU (OSMesa), unless MUJOCO_GL names another renderer.
    """
    backend = os.environ.setdefault("MUJOCO_GL", "osmesa")
    try:
        import_module("mujoco")
        import_module("metaworld")
    except ModuleNotFoundError as error:
        what, hint = f"the simulator is not installed: no module {error.name}", "Run: pip install 'worldtune[sim]'."
        raise UserError(what, where="sim", hint=hint) from error
    except (ImportError, AttributeError, RuntimeError, OSError) as error:  # by backend and version of PyOpenGL
        package = GL_PACKAGES.get(backend, "libosmesa6")
        what = f"the rendering library of MUJOCO_GL={backend} cannot be loaded"
        raise UserError(what, where="sim", hint=f"Install it, on Debian and Ubuntu: apt install {package}.") from error
