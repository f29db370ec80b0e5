"""With sudo, results belong to the user who called it, and not to root."""

import os
from pathlib import Path


def give_to_caller(folder: Path) -> None:
    """Gives a folder and all in it to the user behind sudo; does nothing without sudo."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user is None or group is None or not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, int(user), int(group), follow_symlinks=False)
