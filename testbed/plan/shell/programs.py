"""Commands for rules, files, private folders, eBPF programs and processes."""

import shlex
from collections.abc import Iterator

from testbed.plan.objects import BPF_FOLDER, Bpf, BpfEntry, BpfHook, File, Plan, Program
from testbed.plan.rulesets import Ruleset

OVERLAID = ("/etc", "/var/lib")
"""Folders with a private overlay in each space that has files or programs."""
OWN_RUN, OWN_BPF = "/run", BPF_FOLDER
"""Private folders that are empty at first."""
MAP_PINS = f"{OWN_BPF}/tc/globals"
"""Where maps of eBPF programs are pinned by name; the default of `tc`."""


def rulesets(plan: Plan) -> Iterator[str]:
    """Rules and sets of all spaces, one command per backend."""
    from testbed.plan.rulesets.transactions import loading, wholes  # Most labs have none.

    for space in plan.spaces:
        for step in loading(wholes(space.of(Ruleset))):
            yield from heredoc(f"ip netns exec {space.name} {' '.join(step.command)}", step.text)


def heredoc(command: str, text: str) -> Iterator[str]:
    """A command with a text as its standard input."""
    yield f"{command} <<'END'"
    yield from text.splitlines()
    yield "END"


ROOTS = "/run/roots"
"""Where the printed commands keep the private folders of spaces."""


def files(plan: Plan) -> Iterator[str]:
    """The private folders of spaces with their files; the machine's folders do not change."""
    spaces = [space for space in plan.spaces if space.has_folders]
    if not spaces:
        return
    folders = " ".join((*OVERLAID, OWN_BPF, OWN_RUN))
    yield "# in_folders_of NAME COMMAND...: run a command in the network and private folders of NAME"
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
    """eBPF programs of all spaces: compile, load, attach to devices, fill maps."""
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
    """The name of the compiled file."""
    return "-".join((bpf.source, *(define.lower() for define in bpf.defines))) + ".o"


def compile_words(bpf: Bpf, folder: str, to: str, machine: str) -> tuple[str, ...]:
    """The compiler's command; `machine` is the multiarch name of the C library's folders."""
    defines = (f"-D{define}" for define in bpf.defines)
    flags = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", f"-I/usr/include/{machine}")
    return ("clang", *flags, *defines, "-c", f"{folder}/{bpf.source}.c", "-o", to)


def load_words(bpf: Bpf, file: str, root: str = "") -> tuple[str, ...]:
    """The command that loads and pins all programs and maps of a compiled file."""
    return ("bpftool", "prog", "loadall", file, f"{root}{bpf.pins}", "type", "tc", "pinmaps", f"{root}{MAP_PINS}")


def clsact_words(dev: str) -> str:
    """Arguments of `tc` that prepare a device for programs."""
    return f"qdisc add dev {dev} clsact"


def hook_words(hook: BpfHook, pins: str, verb: str = "add") -> str:
    """Arguments of `tc` that `add` or `replace` a program, pinned in the folder `pins`."""
    pinned = f"{pins}/{hook.program}"
    return f"filter {verb} dev {hook.dev} {hook.where} prio 1 handle 1 bpf direct-action object-pinned {pinned}"


def entry_words(entry: BpfEntry, root: str = "", verb: str = "update") -> str:
    """Arguments of `bpftool` that `update` or `delete` the entry."""
    value = f" value hex {entry.value.hex(' ')}" if verb == "update" else ""
    return f"map {verb} pinned {root}{MAP_PINS}/{entry.map} key hex {entry.key.hex(' ')}{value}"


def log_of(program: Program) -> str:
    """The file with a program's output."""
    return f"{OWN_RUN}/log/{program.name}.log"


def programs(plan: Plan) -> Iterator[str]:
    """Commands that start the programs in the background."""
    for variable in sorted({program.secret for space in plan.spaces for program in space.of(Program)} - {""}):
        yield f"export {variable}=$(od -An -v -tx1 -N16 /dev/urandom | tr -d ' \\n')    # python3 needs PyNaCl"
    for space in plan.spaces:
        for program in space.of(Program):
            variables = [f"{name}={value}" for name, value in program.environment]
            command = shlex.join((*(("env", *variables) if variables else ()), *program.command))
            yield f"in_folders_of {space.name} {command} > {ROOTS}/{space.name}{log_of(program)} 2>&1 &"
