"""A fast path for the usual form of `testbed exec`, which does not load the command line.

All other forms, and errors, are left to `testbed.cli.exec`.
"""

import os

from testbed.lab.door import Unanswered
from testbed.lab.living import CommandRefused, LivingLab, UnknownPlace


def try_exec(arguments: list[str]) -> None:
    """Becomes the command if the arguments are `[--lab LAB] TARGET [--] COMMAND...` and exactly one lab matches."""
    name = os.environ.get("TESTBED_LAB")
    if arguments[:1] == ["--lab"] and len(arguments) > 1:
        name, arguments = arguments[1], arguments[2:]
    place, command = arguments[:1], arguments[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    labs = [lab for lab in LivingLab.all() if name in (None, lab.name)]
    if len(labs) != 1 or not command or place[0].startswith("-") or command[0].startswith("-"):
        return
    try:
        labs[0].replace_process(place[0], command, environment_of(labs[0], place[0]))
    except (CommandRefused, Unanswered, UnknownPlace):
        return


def environment_of(lab: LivingLab, place: str) -> dict[str, str]:
    """The environment of a program in a lab: the caller's, with the lab and the place added."""
    return {**os.environ, "TESTBED_LAB": lab.name, "TESTBED_PLACE": place}
