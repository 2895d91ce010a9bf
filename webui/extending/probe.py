"""Tries one extension, in a process of its own: python -m webui.extending.probe FOLDER [--overlay FOLDER].

Prints in one line of JSON what it adds, or why it fails. Whatever the extension prints goes to stderr.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webui.extending.additions import additions_of
from webui.extending.loader import explain, load, trace_of
from webui.extending.places import Place, module_name

HEAVY = ("torch", "diffusers", "transformers", "gradio", "cv2")  # what costs the server seconds and much memory
ASK_WHERE: signal.Signals | None = getattr(signal, "SIGUSR1", None)  # prints where it is; not there on Windows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--overlay", type=Path)
    options = parser.parse_args(arguments)
    answer = os.dup(1)
    os.dup2(2, 1)  # what the extension prints must not get between
    faulthandler.enable()
    if ASK_WHERE is not None:
        faulthandler.register(ASK_WHERE)  # where it hangs, for its author
    report = examine(Place(module_name(options.folder.name), options.folder.absolute(), False, options.overlay))
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(answer, json.dumps(report).encode())
    os._exit(0)  # no thread that the extension started may hold it up


def examine(place: Place) -> dict[str, Any]:
    """Return what the extension adds and how long that took, in seconds; or its `problem`."""
    before = set(sys.modules)
    began = time.monotonic()
    try:
        additions = additions_of(load(place))
    except BaseException as error:  # sys.exit too
        print(trace_of(error, place), file=sys.stderr)
        return {"problem": explain(error)}
    return {
        "additions": [each.model_dump() for each in additions],
        "seconds": round(time.monotonic() - began, 3),
        "heavy": sorted(set(HEAVY) & (set(sys.modules) - before)),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
