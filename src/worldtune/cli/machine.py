"""The checks of `worldtune doctor`: the installation, the machine, the packaged pocket world."""

import io
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

import worldtune
from worldtune.core.files import digest_file
from worldtune.core.version import __version__

POCKET = Path(worldtune.__file__).parent / "pocket" / "base"
CHECKSUMS = "SHA256SUMS"  # beside the files it lists, as sha256sum(1) writes it
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ABSENT = "not installed"
DEMO_MEMORY = 3e9  # bytes; the peak of `worldtune demo`
RUN_DISK = 2e9  # bytes; a demo run with its videos and checkpoints


@dataclass(frozen=True)
class Check:
    """The result of one check. "broken" stops work and has a hint; "note" is information or an optional part."""

    name: str
    state: Literal["ok", "note", "broken"]
    found: str
    hint: str = ""


def check_machine(folder: Path) -> Iterator[Check]:
    """Yield every check in the order of printing; `folder` is where runs would be written."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    absent = False
    for check in check_dependencies():
        absent = absent or check.found == ABSENT
        yield check
    if absent:
        yield Check("machine", "note", "not checked: this needs the libraries above")
        return
    yield check_threads()
    yield check_gpu()
    yield check_memory()
    yield check_disk(folder)
    yield check_h264()
    yield check_browser()
    yield check_pocket(POCKET)


def check_dependencies() -> Iterator[Check]:
    """Yield a check of each library's installed version against the range in worldtune's metadata."""
    try:
        lines = requires("worldtune") or []
    except PackageNotFoundError:
        hint = "Run 'python3 -m pip install -c constraints.txt -e .' in worldtune's folder."
        yield Check("worldtune", "broken", f"{__version__}, not installed as a package", hint)
        return
    yield Check("worldtune", "ok", __version__)
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield check_dependency(requirement)


def check_dependency(requirement: Requirement) -> Check:
    """Check one library. It is broken if it is absent or outside its range."""
    hint = f"Run 'python3 -m pip install \"{requirement.name}{requirement.specifier}\"'."
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(requirement.name, "broken", ABSENT, hint)
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, "broken", f"{found}, but worldtune needs {requirement.specifier}", hint)
    return Check(requirement.name, "ok", f"{found} ({requirement.specifier})")


def check_threads() -> Check:
    import torch

    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    if threads > cores:
        hint = f"Set OMP_NUM_THREADS={cores}: more threads than cores are slower."
        return Check("threads", "note", f"{threads} on {cores} cores", hint)
    return Check("threads", "ok", f"{threads} on {cores} cores")


def check_gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", "note", "no GPU that torch can use; the pocket world runs on the CPU")
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = ", ".join(f"{card.name}, {card.total_memory / 1e9:.0f} GB" for card in cards)
    return Check("gpu", "ok", f"{names}; CUDA {torch.version.cuda}; bf16 {torch.cuda.is_bf16_supported()}")


def check_memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < DEMO_MEMORY:
        return Check("memory", "broken", found, f"Free memory: the demo needs {DEMO_MEMORY / 1e9:.0f} GB.")
    return Check("memory", "ok", found)


def check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if free < RUN_DISK:
        return Check("disk", "broken", found, f"Free disk space: a run needs {RUN_DISK / 1e9:.0f} GB.")
    if not os.access(folder, os.W_OK):
        return Check("disk", "broken", f"{folder} cannot be written", "Work in a folder you can write to.")
    return Check("disk", "ok", found)


def check_h264() -> Check:
    """Encode and decode two frames with PyAV's H.264 codec."""
    import av
    import numpy as np
    from av.codec.codec import UnknownCodecError

    hint = "Install PyAV's own wheel: 'python3 -m pip install --force-reinstall --only-binary av av'."
    image_HWC = np.zeros((16, 16, 3), np.uint8)
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4") as file:
            stream = file.add_stream("libx264", rate=16)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
            for _ in range(2):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(image_HWC, format="rgb24")))
            file.mux(stream.encode())
        buffer.seek(0)
        with av.open(buffer, "r") as file:
            frames = len(list(file.decode(video=0)))
    except (av.FFmpegError, UnknownCodecError) as error:
        return Check("h264", "broken", str(error), hint)
    if frames != 2:
        return Check("h264", "broken", f"decoded {frames} of 2 frames", hint)
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    return Check("h264", "ok", f"libx264 encodes and decodes; PyAV {av.__version__}, libavcodec {libavcodec}")


def check_browser() -> Check:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        return Check("browser", "note", "no Chromium; only worldtune's tests need it")
    return Check("browser", "ok", found)


def check_pocket(folder: Path) -> Check:
    """Check the SHA-256 of every file in the packaged pocket world's checksum list."""
    hint = "Install worldtune again; in a clone, 'git checkout' the folder."
    sums = folder / CHECKSUMS
    if not sums.is_file():
        return Check("pocket", "broken", f"{sums} is missing", hint)
    recorded = [line.split(maxsplit=1) for line in sums.read_text().splitlines()]
    size = 0
    for digest, name in recorded:
        path = folder / name
        if not path.is_file():
            return Check("pocket", "broken", f"{path} is missing", hint)
        if digest_file(path) != digest:
            return Check("pocket", "broken", f"{path} is damaged: its SHA-256 differs from the recorded one", hint)
        size += path.stat().st_size
    if not recorded:
        return Check("pocket", "broken", f"{sums} lists no file", hint)
    return Check("pocket", "ok", f"{len(recorded)} files, {size / 1e6:.1f} MB, all as released")
