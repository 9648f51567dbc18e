"""A measurement in a process of its own."""

import os
import subprocess

import pytest

from benchmarks.subprocess_measurement import measure_in_subprocess


def test_last_line_of_another_process_is_read() -> None:
    script = "import json, os, sys; print('noise'); print(json.dumps({'pid': os.getpid(), 'x': float(sys.argv[1])}))"
    found = measure_in_subprocess(script, "2.5")
    assert found["x"] == 2.5
    assert found["pid"] != os.getpid()


def test_script_that_fails_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        measure_in_subprocess("raise SystemExit(3)")
