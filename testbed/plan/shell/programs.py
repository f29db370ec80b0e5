"""What runs on nodes, as commands: rules, files and folders of their own, eBPF programs, other programs."""

import shlex
from collections.abc import Iterator

from testbed.plan.objects import BPF_FOLDER, Bpf, BpfEntry, BpfHook, File, Plan, Program
from testbed.plan.rulesets import Ruleset

OVERLAID = ("/etc", "/var/lib")
"""Folders of which a space that has files or programs sees a version of its own,"""
OWN_RUN, OWN_BPF = "/run", BPF_FOLDER
"""beside these, which are empty."""
MAP_PINS = f"{OWN_BPF}/tc/globals"
"""Where the maps of eBPF programs are, by name, as `tc` would have it."""


def rulesets(plan: Plan) -> Iterator[str]:
    """Rules and sets of all spaces, one command a backend."""
    from testbed.plan.rulesets.transactions import loading, wholes  # Most labs have none.

    for space in plan.spaces:
        for step in loading(wholes(space.of(Ruleset))):
            yield from heredoc(f"ip netns exec {space.name} {' '.join(step.command)}", step.text)


def heredoc(command: str, text: str) -> Iterator[str]:
    """A command that is given a text to read."""
    yield f"{command} <<'END'"
    yield from text.splitlines()
    yield "END"


ROOTS = "/run/roots"
"""Where the folders of spaces' own are while the printed commands are carried out."""


def files(plan: Plan) -> Iterator[str]:
    """Folders of a space's own lie over those of the machine, which are left as they are."""
    spaces = [space for space in plan.spaces if space.has_folders]
    if not spaces:
        return
    folders = " ".join((*OVERLAID, OWN_BPF, OWN_RUN))
    yield "# in_folders_of NAME COMMAND...: runs a command there, in the network and with the folders of that name"
    yield "in_folders_of() {"
    yield "    ip netns exec $1 sh -ec '"
    yield f"        for each in {folders}; do mount --rbind {ROOTS}/$1$each $each; done"
    yield '        shift; exec "$@"\' sh "$@"'
    yield "}"
    for space in spaces:
        root = f"{ROOTS}/{space.name}"
        yield f"mkdir -p {root}{OWN_RUN}/log {root}{OWN_BPF}"
        yield f"mount -t bpf bpf {root}{OWN_BPF}"
        for path in OVERLAID:
            upper, work = f"{root}/upper{path}", f"{root}/work{path}"
            yield f"mkdir -p {upper} {work} {root}{path}"
            yield f"mount -t overlay overlay -o lowerdir={path},upperdir={upper},workdir={work} {root}{path}"
        for file in space.of(File):
            yield f"mkdir -p {root}{file.path.rpartition('/')[0]}"
            yield from heredoc(f"cat > {root}{file.path}", file.text)
            if file.mode != 0o644:
                yield f"chmod {file.mode:o} {root}{file.path}"


def bpf(plan: Plan) -> Iterator[str]:
    """eBPF programs of all spaces: compiled, loaded, hung on their devices, and told what is in their maps."""
    objects: dict[str, Bpf] = {}
    for space in plan.spaces:
        if space.bpf:
            objects.setdefault(object_of(space.bpf), space.bpf)
    for name, one in objects.items():
        yield " ".join(compile_words(one, "testbed/bpf", f"{ROOTS}/{name}", "$(uname -m)-linux-gnu"))
    for space in plan.spaces:
        if bpf := space.bpf:
            root = f"{ROOTS}/{space.name}"
            yield f"mkdir -p {root}{MAP_PINS}"
            yield " ".join(load_words(bpf, f"{ROOTS}/{object_of(bpf)}", root))
            for dev in dict.fromkeys(hook.dev for hook in bpf.hooks if hook.where != "peer"):
                yield f"tc -n {space.name} {clsact_words(dev)}"
            for hook in bpf.hooks:
                if hook.where == "peer":
                    yield f"# {root}{bpf.pins}/{hook.program} on {hook.dev}: by bpf(2), BPF_LINK_CREATE with"
                    yield "# BPF_NETKIT_PEER, as neither tc nor Debian's bpftool knows netkit"
                else:
                    yield f"tc -n {space.name} {hook_words(hook, f'{root}{bpf.pins}')}"
            for entry in bpf.entries:
                yield from (f"# {entry.note}",) if entry.note else ()
                yield f"bpftool {entry_words(entry, root)}"


def object_of(bpf: Bpf) -> str:
    """The name of the file that it is compiled to."""
    return "-".join((bpf.source, *(define.lower() for define in bpf.defines))) + ".o"


def compile_words(bpf: Bpf, folder: str, to: str, machine: str) -> tuple[str, ...]:
    """The compiler's command; `machine` is what the C library's folders are called here."""
    defines = (f"-D{define}" for define in bpf.defines)
    flags = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", f"-I/usr/include/{machine}")
    return ("clang", *flags, *defines, "-c", f"{folder}/{bpf.source}.c", "-o", to)


def load_words(bpf: Bpf, file: str, root: str = "") -> tuple[str, ...]:
    """The command that loads and pins all programs and maps of a compiled file."""
    return ("bpftool", "prog", "loadall", file, f"{root}{bpf.pins}", "type", "tc", "pinmaps", f"{root}{MAP_PINS}")


def clsact_words(dev: str) -> str:
    """What `tc` is told so that a device can have programs."""
    return f"qdisc add dev {dev} clsact"


def hook_words(hook: BpfHook, pins: str, verb: str = "add") -> str:
    """What `tc` is told to `add` or `replace` that program, which is pinned in that folder."""
    pinned = f"{pins}/{hook.program}"
    return f"filter {verb} dev {hook.dev} {hook.where} prio 1 handle 1 bpf direct-action object-pinned {pinned}"


def entry_words(entry: BpfEntry, root: str = "", verb: str = "update") -> str:
    """What `bpftool` is told to `update` or `delete` that entry."""
    value = f" value hex {entry.value.hex(' ')}" if verb == "update" else ""
    return f"map {verb} pinned {root}{MAP_PINS}/{entry.map} key hex {entry.key.hex(' ')}{value}"


def log_of(program: Program) -> str:
    """The file that has what a program prints."""
    return f"{OWN_RUN}/log/{program.name}.log"


def programs(plan: Plan) -> Iterator[str]:
    """The testbed's own programs and the system's, started in the background."""
    for variable in sorted({program.secret for space in plan.spaces for program in space.of(Program)} - {""}):
        yield f"export {variable}=$(od -An -v -tx1 -N16 /dev/urandom | tr -d ' \\n')    # python3 needs PyNaCl"
    for space in plan.spaces:
        for program in space.of(Program):
            variables = [f"{name}={value}" for name, value in program.environment]
            command = shlex.join((*(("env", *variables) if variables else ()), *program.command))
            yield f"in_folders_of {space.name} {command} > {ROOTS}/{space.name}{log_of(program)} 2>&1 &"
