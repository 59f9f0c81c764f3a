"""A pytest plugin that notes what a session stores, and kills the session in the middle of a write.

STORED names the file for the notes, a line for each measurement. DIE_AT is a place and which time it is to be the last,
such as 'half written:2'.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from engine.arms.measurement import Measurement
from engine.files import UNFINISHED
from engine.ledger import Ledger


def is_measurement(handle: int) -> bool:
    """Whether an open file is a measurement that is being written. Where Linux tells no name, none is."""
    path = Path(os.readlink(f"/proc/self/fd/{handle}"))
    return path.name.endswith(UNFINISHED) and "measurements" in path.parts


PLACES: dict[str, Any] = {
    "half written": (os, "fsync", is_measurement),
    "not yet in place": (os, "fsync", is_measurement),
    "in place": (os, "replace", lambda _, target: str(target).endswith(".json")),
}


def note_what_is_stored(notes: Path) -> None:
    put = Ledger.put

    def put_and_note(ledger: Ledger, measurement: Measurement) -> None:
        put(ledger, measurement)
        with notes.open("a") as file:  # one short write at the end: sessions may share the file
            file.write(f"{os.getpid()} {measurement.digest}\n")

    Ledger.put = put_and_note


def die_at(place: str, time: int) -> None:
    module, name, counts = PLACES[place]
    plain, calls = getattr(module, name), list[Any]()

    def do_or_die(*arguments: Any, **options: Any) -> None:
        if counts(*arguments, **options):
            calls.append(arguments)
        if len(calls) < time:
            return plain(*arguments, **options)
        if place == "half written":
            os.ftruncate(arguments[0], 300)
        if place == "in place":
            plain(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, do_or_die)


if "STORED" in os.environ:
    note_what_is_stored(Path(os.environ["STORED"]))
if "DIE_AT" in os.environ:
    place, _, time = os.environ["DIE_AT"].partition(":")
    die_at(place, int(time))
