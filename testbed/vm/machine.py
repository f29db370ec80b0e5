"""Boots a stock kernel from /boot under QEMU, on this machine's own files, and runs one command there as root.

    files of this machine --9p, read only--+
                                           +--overlay--> the root of the virtual machine
    memory of the virtual machine ---------+

Nothing that is written there reaches this machine, except files in EXCHANGE. The processor is emulated and has one CPU:
while other programs run here, QEMU, which emulates each CPU in a thread, cannot prevent one from executing a breakpoint
that another has just removed from the kernel's code ("Oops: int3").

Everything starts in a capsule (`testbed.lab.capsule`) and ends with it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

SEARCH = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are found, here and there; virtme-run is in the environment of Python."""
REMEDY = "./setup.sh --vm installs it"
EXCHANGE = Path("/run/exchange")
"""A folder in memory that the capsule shares with the virtual machine, at the same place in both."""
CONSOLE = Path("/run/console")
"""The messages of the kernel there."""
START = EXCHANGE / "begin"
BEGIN = f"mkdir {EXCHANGE} && busybox mount -t 9p -o trans=virtio exchange {EXCHANGE} && . {START}"
"""All that fits on the kernel's command line."""
# The files are mounted again because virtme's own mount asks the host again for every look at every file: Python starts
# three times faster with a cache. The root is exchanged by pivot_root, since a process in a chroot may not create user
# namespaces. busybox mounts, and nothing is set-uid: if a user starts this, root's files belong to nobody there.
# /dev/net/tun, which elsewhere udev makes, comes with its module. With RCU expedited the kernel frees devices and
# namespaces at once.
ROOT_CHANGE = f"""
set -e
mount() {{ busybox mount "$@"; }}
mkdir /run/files /run/layer /run/root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose files /run/files
mount -t tmpfs layer /run/layer
mkdir /run/layer/upper /run/layer/work
mount -t overlay -o nosuid,lowerdir=/run/files,upperdir=/run/layer/upper,workdir=/run/layer/work root /run/root
for each in proc sys dev; do mount --rbind /$each /run/root/$each; done
mount -t tmpfs run /run/root/run
mkdir /run/root/run/old /run/root{EXCHANGE}
mount --move {EXCHANGE} /run/root{EXCHANGE}
cd /run/root
pivot_root . run/old
busybox umount -l /run/old
modprobe tun
echo 1 > /sys/kernel/rcu_expedited
"""
# A nanosecond of the clock there is an instruction. Idle time passes as here; with sleep=off it would be skipped, and
# programs that wait for a file of this machine would time out. Without these two features of the processor the kernel
# copies eight bytes an instruction instead of one.
COUNTING = ("-icount", "shift=0,sleep=on", "-cpu", "max,-erms,-fsrm")


def kernel(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> str:
    """The newest 6.12 that is installed with its modules, else the newest of all; empty if none is installed."""
    versions = [path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*")]
    usable = [version for version in versions if Path(modules, version, "modules.dep").exists()]

    def rank(version: str) -> tuple[bool, list[int], int]:
        # The shortest of the same version is the plain one: others are called -cloud- or -rt-.
        return version.startswith("6.12."), [int(number) for number in re.findall(r"\d+", version)], -len(version)

    return max(usable, key=rank, default="")


def missing(version: str, search: str = SEARCH) -> list[str]:
    """The programs and files that booting requires and that are missing here."""
    programs = ("virtme-run", "qemu-system-x86_64", "busybox", "modprobe")
    lacking = [f"the program {program}" for program in programs if shutil.which(program, path=search) is None]
    if not version:
        return [*lacking, "a kernel in /boot with its modules"]
    image = f"/boot/vmlinuz-{version}"
    return lacking if os.access(image, os.R_OK) else [*lacking, f"the right to read {image}"]


def run(
    version: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    said: Callable[[bytes], object],
    counting: bool = False,
) -> int:
    """Boot once, run a command in a folder there, pass its output to `said`, and return its exit code.

    If the kernel ends before the command, the code is another one, and CONSOLE tells why. With `counting`, the clock
    there counts instructions. Called in a capsule; EXCHANGE must exist.
    """
    assignments = [f"{name}={value}" for name, value in {"PATH": SEARCH, **variables}.items()]
    START.write_text(
        f"{ROOT_CHANGE}\ncd {shlex.quote(str(folder))}\nexec env -i {shlex.join([*assignments, *command])} 2>&1\n"
    )
    machine = subprocess.Popen(
        _command(version, COUNTING if counting else ()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # QEMU opens it several times, which would truncate a file.
        stderr=CONSOLE.open("w"),
        env=os.environ | {"PATH": SEARCH, "TMPDIR": "/run"},
    )
    assert machine.stdout
    for chunk in iter(partial(os.read, machine.stdout.fileno(), 65536), b""):
        said(chunk)
    return machine.wait()


def _command(version: str, options: Sequence[str]) -> list[str]:
    def shared(path: Path, name: str, more: str = "") -> list[str]:
        where = f"local,id={name},path={path},security_model=none,multidevs=remap{more}"
        return ["-fsdev", where, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]

    return [
        *("virtme-run", "--kimg", f"/boot/vmlinuz-{version}", "--mods", "auto", "--script-sh", BEGIN),
        # /dev/kvm may exist in a virtual machine and refuse such a kernel.
        *("--disable-kvm", "--disable-microvm", "--force-9p", "--memory", "2G", "--cpus", "1", "--name", "vm"),
        # Four levels of page tables are walked faster than five, and this kernel is not attacked.
        *("--kopt", "no5lvl", "--kopt", "mitigations=off"),
        "--show-boot-console",  # On what is standard error here, which is read if a kernel panics.
        *("--qemu-opts", *shared(Path("/"), "files", ",readonly=on"), *shared(EXCHANGE, "exchange"), *options),
    ]
