"""`testbed exec` without the time that it takes to load a command line, for the usual way of saying it.

Whatever is not said in that way, or goes wrong, is left to `testbed.cli.exec`, which explains it.
"""

import os

from testbed.lab.door import Unanswered
from testbed.lab.living import LivingLab, UnknownPlace


def try_exec(arguments: list[str]) -> None:
    """Becomes the command, if the arguments are `[-n LAB] TARGET [--] COMMAND...` and the lab is plain."""
    name = os.environ.get("TESTBED_LAB")
    if arguments[:1] in (["-n"], ["--name"]) and len(arguments) > 1:
        name, arguments = arguments[1], arguments[2:]
    place, command = arguments[:1], arguments[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    labs = [lab for lab in LivingLab.all() if name in (None, lab.name)]
    if len(labs) != 1 or not command or place[0].startswith("-"):
        return
    try:
        labs[0].replace_process(place[0], command, environment_of(labs[0], place[0]))
    except (Unanswered, UnknownPlace):
        return


def environment_of(lab: LivingLab, place: str) -> dict[str, str]:
    """What a program in a lab finds in its environment beside what the caller has there."""
    return {**os.environ, "TESTBED_LAB": lab.name, "TESTBED_PLACE": place}
