"""Features that do what none should, each where its own option is on; and one that does what it should."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import signal
import sys
import time
from pathlib import Path

from zope.interface import implementer

from smtpeter.api import FailurePolicy, IFeaturePlugin, IPreparingFeature, Option, OptionKind, Slot, switched_on


@implementer(IPreparingFeature)
class Feature:
    def __init__(self, name, act, on_failure):
        self.on_failure = on_failure
        self._name = name
        self._act = act

    def wants(self, options):
        return switched_on(options, self._name)

    def prepare(self, message, context):
        # Whatever is done first has to be undone.
        message.add_field(f"X-{self._name}", "was here")
        for leaf in message.plain:
            leaf.set_text(leaf.text() + f"{self._name} was here\r\n")
        self._act(message, context)


@implementer(IFeaturePlugin)
class Plugin:
    options = ()
    after = ()
    before = ("zz_marks",)

    def __init__(self, name, act, on_failure=FailurePolicy.SEND, options=()):
        self.name = name
        self.options = (Option(name, f"A feature that {name}"), *options)
        self._act = act
        self._on_failure = on_failure
        if name == "zz_marks":
            self.before = ()

    def configure(self, section, services):
        return Feature(self.name, self._act, self._on_failure)


def _raise(message, context):
    raise ValueError("it is Tuesday")


def _loop(message, context):
    while True:
        pass


def _loop_stubbornly(message, context):
    while True:
        try:
            while True:
                pass
        except BaseException:
            if len(context.notes) > 2:
                raise
            context.note("cut off")


def _search_for_ever(message, context):
    re.match(r"(a+)+$", "a" * 60 + "b")


def _stay_in_c(message, context):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**10 // 8)


def _hog(message, context):
    kept = []
    while True:
        kept.append(bytearray(10_000_000))


def _exit(message, context):
    os._exit(7)


def _leave(message, context):
    sys.exit("good-bye")


def _crash(message, context):
    ctypes.string_at(0)


def _print(message, context):
    print("x" * 100_000)
    print("\x00\x00\x00\x05ready", flush=True)
    os.write(1, b"\x00\x00\x00\x05ready\n")
    sys.stderr.write("to standard error\n")
    print("nothing comes in:", repr(sys.stdin.read()))


def _sleep(message, context):
    time.sleep(3600)


def _die_once(message, context):
    mark = Path(context.options["mark"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _wait_once(message, context):
    mark = Path(context.options["mark"])
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(3600)


def _make_slots_of_nobody(message, context):
    for leaf in message.plain:
        leaf.splice([(0, 0, [Slot("nobody", "1", 24)])])


def _mark(message, context):
    context.note(f"{context.recipients} recipients")


FAIL, DEFER = FailurePolicy.FAIL, FailurePolicy.DEFER

raises = Plugin("raises", _raise)
raises_defer = Plugin("raises_defer", _raise, DEFER)
raises_fail = Plugin("raises_fail", _raise, FAIL)
loops = Plugin("loops", _loop)
loops_stubbornly = Plugin("loops_stubbornly", _loop_stubbornly)
searches = Plugin("searches", _search_for_ever)
stays_in_c = Plugin("stays_in_c", _stay_in_c)
hogs = Plugin("hogs", _hog)
exits = Plugin("exits", _exit)
exits_defer = Plugin("exits_defer", _exit, DEFER)
exits_fail = Plugin("exits_fail", _exit, FAIL)
leaves = Plugin("leaves", _leave)
crashes = Plugin("crashes", _crash)
prints = Plugin("prints", _print)
sleeps = Plugin("sleeps", _sleep)
dies_once = Plugin("dies_once", _die_once)
waits_once = Plugin("waits_once", _wait_once, options=(Option("mark", "a file to make", OptionKind.TEXT),))
slots_of_nobody = Plugin("slots_of_nobody", _make_slots_of_nobody)
marks = Plugin("zz_marks", _mark)
