"""Whether this process may build labs: as root, or where the system allows user namespaces."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.kernel.namespace import Namespace
from testbed.kernel.syscalls import CLONE_NEWNET, CLONE_NEWUSER, unshare

CONTAINER = "root may not make namespaces here; a container needs CAP_SYS_ADMIN (docker run --privileged)"
_SWITCHES = {
    # In the order in which they are reported, each with the value that forbids user namespaces.
    "kernel.apparmor_restrict_unprivileged_userns": "1",
    "kernel.unprivileged_userns_clone": "0",
    "user.max_user_namespaces": "0",
}
_FIXES = {
    "kernel.apparmor_restrict_unprivileged_userns": "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    "kernel.unprivileged_userns_clone": "sudo sysctl kernel.unprivileged_userns_clone=1",
    "user.max_user_namespaces": "sudo sysctl user.max_user_namespaces=10000",
}


def become_root() -> None:
    """Make the calling process root of a new user namespace; outside it stays the same user. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def is_roots_own() -> bool:
    """Whether this process is root on the host, not only in a user namespace."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]


def hindrance() -> str:
    """Why this process may not build labs, and the fix; empty if it may."""
    if os.geteuid() == 0:
        try:
            Namespace.create().close()
        except PermissionError:
            return CONTAINER
        return ""
    if as_root(lambda: True):
        return ""
    for switch, forbids in _SWITCHES.items():
        if _setting(switch) == forbids:
            why = f"only root may make namespaces on this system ({switch}={forbids})"
            return f"{why}: run it with sudo, or {_FIXES[switch]}"
    return "this user may not make namespaces; run it with sudo, or as root"


def as_root(work: Callable[[], Any]) -> Any:
    """Call a function as root and return its result, which must fit JSON.

    Without root, a child calls it in a user namespace. None if it raises OSError or user namespaces are not allowed.
    """
    if os.geteuid() == 0:
        try:
            return work()
        except OSError:
            return None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            become_root()
            unshare(CLONE_NEWNET)  # It has no rights in the host's: it could not even return there from another one.
            os.write(write, json.dumps(work()).encode())
            code = 0
        except OSError:
            pass
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        output = answer.read()
    os.waitpid(child, 0)
    return json.loads(output) if output else None


def _setting(key: str) -> str:
    try:
        return Path("/proc/sys", *key.split(".")).read_text().strip()
    except OSError:
        return ""
