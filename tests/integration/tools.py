"""Foreign programs that tests use.  Without one its tests are skipped, or fail where all of them have to be there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def tool(name):
    """The path of a program."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        missing(f"{name} is not installed")
    return path


def perl(*modules):
    """The path of perl, which has these modules."""
    path = tool("perl")
    if subprocess.run([path, *(f"-M{module}" for module in modules), "-e", "1"], capture_output=True).returncode:
        missing(f"perl does not have all of {', '.join(modules)}")
    return path


def node(*modules):
    """The path of Node, which finds these modules (in NODE_PATH, too)."""
    path = tool("node")
    wanted = "; ".join(f"require('{module}')" for module in modules)
    if subprocess.run([path, "-e", wanted], capture_output=True).returncode:
        missing(f"node does not find all of {', '.join(modules)}: npm install them somewhere and set NODE_PATH")
    return path


def php(*extensions, library=None):
    """The path of PHP, which has these extensions, and this file of a library."""
    path = tool("php")
    there = subprocess.run([path, "-m"], capture_output=True, text=True).stdout.split()
    if not set(extensions) <= set(there):
        missing(f"php does not have all of {', '.join(extensions)}")
    if library is not None and not Path(library).exists():
        missing(f"{library} is not there")
    return path


def postfix():
    """The path of Postfix; an instance of its own can be run by root alone."""
    path = tool("postfix")
    if os.geteuid() != 0:
        missing("only root can run Postfix")
    if not any(Path("/usr").glob("lib/*/sasl2/libplain.so")):
        missing("libsasl2-modules is not installed")
    return path


def missing(what):
    """What a test needs is not there."""
    if os.environ.get("SMTPETER_REQUIRE_TOOLS"):
        pytest.fail(what)
    pytest.skip(what)
