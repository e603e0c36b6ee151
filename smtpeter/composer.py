"""The process that reads large requests: ``python -m smtpeter.composer``, started by the server and by nobody else.

It is told its set-up and then requests on standard input, a line each, and answers on standard output, until its input
ends.  What a request is made into stands in a file beside the request's own.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
from pathlib import Path

from smtpeter.features.confinement import bound_memory, step_back, take_descriptors
from smtpeter.web.rest.bodies import digest_of, read_tree
from smtpeter.web.rest.exchange import COMPOSED, Setup, encode_error, encode_outgoing
from smtpeter.web.rest.outgoing import make_outgoing
from smtpeter.web.rest.values import ApiError

SECONDS = 10.0
"""Of CPU, for one request; then the process is killed."""

_TOO_LARGE = ApiError(413, "This request takes more memory to be read than a message may")


def carry_out(file: Path, content_type: bytes, setup: Setup) -> bytes:
    """Read and compose a request; the answer, as a line."""
    try:
        return _compose(file, content_type, setup)
    except ApiError as error:
        return encode_error(error)
    except MemoryError:
        return encode_error(_TOO_LARGE)
    except OSError:
        return encode_error(ApiError(503, "There is not enough room to read this request now; try again later"))


def _compose(file: Path, content_type: bytes, setup: Setup) -> bytes:
    # Of what is large there should never be more than two or three copies.
    digest = digest_of(content_type, file.read_bytes())
    outgoing = make_outgoing(read_tree(content_type, file.read_bytes()), setup.rules, os.urandom(16).hex())
    size = 0
    with Path(f"{file}{COMPOSED}").open("xb") as composed:
        for piece in outgoing.pieces:
            size += len(piece)
            if size > setup.size:
                raise ApiError(413, f"This message is too large: at most {setup.size} octets are taken")
            composed.write(piece)
    return encode_outgoing(outgoing.envelope, outgoing.options, digest)


def main() -> None:
    """Work until nothing comes any more."""
    incoming, outgoing = take_descriptors()
    lines = io.BufferedReader(io.FileIO(incoming))
    setup = Setup.decode(lines.readline())
    step_back(setup.parent)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    bound_memory(setup.memory)
    gc.freeze()
    while line := lines.readline():
        told = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answer = memoryview(carry_out(Path(told["file"]), told["type"].encode("latin-1"), setup))
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.collect()
        while answer:
            answer = answer[os.write(outgoing, answer) :]


if __name__ == "__main__":
    main()
