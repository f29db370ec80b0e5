"""Where system programs are searched: also in the folders for root's programs.

Debian keeps many of them in sbin, which is not in an ordinary user's PATH; that user is root in a lab.
"""

import os

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def add_sbin() -> None:
    """Append the folders of `SBIN` that are missing to this process's PATH, for it and the programs that it starts."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*folders, *(folder for folder in SBIN if folder not in folders)])
