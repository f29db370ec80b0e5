"""Whether this process may build labs: root may, and others where the system lets them make user namespaces."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.kernel.namespace import Namespace
from testbed.kernel.syscalls import CLONE_NEWNET, CLONE_NEWUSER, unshare

CONTAINER = "this root may not make namespaces; a container needs CAP_SYS_ADMIN (docker run --privileged)"
_SWITCHES = {
    # In the order in which they are named; each with the value that forbids.
    "kernel.apparmor_restrict_unprivileged_userns": "1",
    "kernel.unprivileged_userns_clone": "0",
    "user.max_user_namespaces": "0",
}
_MENDS = {
    "kernel.apparmor_restrict_unprivileged_userns": "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    "kernel.unprivileged_userns_clone": "sudo sysctl kernel.unprivileged_userns_clone=1",
    "user.max_user_namespaces": "sudo sysctl user.max_user_namespaces=10000",
}


def become_root() -> None:
    """Makes the calling process root of a new user namespace, which is the same user outside. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def is_roots_own() -> bool:
    """Whether this process is root, and not only in a user namespace."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]


def hindrance() -> str:
    """Why this process may not build labs, and what would let it; empty if it may."""
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
            why = f"this system lets only root make namespaces ({switch}={forbids})"
            return f"{why}: run it with sudo, or {_MENDS[switch]}"
    return "this user may not make namespaces; run it with sudo, or as root"


def as_root(work: Callable[[], Any]) -> Any:
    """What a function returns, fit for JSON, that is called by root: a child's, in a user namespace, if this is none.

    None if it raises an OSError, or there is no such right.
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
            unshare(CLONE_NEWNET)  # In the host's it may do nothing, not even come back to it from another one.
            os.write(write, json.dumps(work()).encode())
            code = 0
        except OSError:
            pass
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else None


def _setting(key: str) -> str:
    try:
        return Path("/proc/sys", *key.split(".")).read_text().strip()
    except OSError:
        return ""
