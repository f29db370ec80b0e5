"""Ownership of results under sudo: they belong to the calling user, not to root."""

import os
from pathlib import Path


def give_to_caller(folder: Path) -> None:
    """Change the owner of a folder and its contents to the user who called sudo; do nothing without sudo."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user is None or group is None or not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, int(user), int(group), follow_symlinks=False)
