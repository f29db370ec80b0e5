"""The pages for readers, README.md and docs/: what is in them, and how their examples are carried out.

A page is a list of blocks. They are carried out in order, as a reader would, in a copy of what the repository ships:

- `console`: lines that begin with `$ ` are typed into one shell. Lines below a command are its output, in which `...`
  stands for anything; without such lines any output will do. `# exit code 1` behind a command says how it ends.
- `sh`: each line is a command.
- `python` is run, `yaml` is loaded as the topology, scenario, design or manifest that it is.
- `diff` is applied.
- A block of any language is written to a file instead if the line before it ends with "as `FILE`:".

    python -m tests.pages docs/learn.md         # prints what each command of a page says, and how long it takes
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import click
import yaml

from testbed.cli import verbs
from testbed.designs import CATALOGUE
from testbed.kubernetes.reading import read_manifests
from testbed.lab.capsule import enclosed
from testbed.spec.foreign import imported
from testbed.spec.load import load_design, load_scenario, load_topology
from testbed.spec.source import read_source

ROOT = Path(__file__).parent.parent
PAGES = tuple(str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))))
SHIPPED = ("README.md", "docs", "examples", "results", "scenarios", "schemas", "setup.sh", "testbed", "topologies")
"""What a copy has of the repository."""
SECONDS = 60
"""That a command of a page may take."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"as `([^`\n]+)`[^`\n]*:\n+\Z")
ENDS = re.compile(r"\s+# exit code (\d+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """Of its fence, from 1."""
    language: str
    text: str
    file: str
    """Where a reader is to save it; empty: nowhere."""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """What a reader types, and what they are told to see."""

    text: str
    shown: str
    """The output, as far as the page has it."""
    code: int


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    text = (ROOT / page).read_text()
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        saved = SAVED.search(before)
        yield Block(page, before.count("\n") + 1, found[1], found[2], saved[1] if saved else "")


def commands(block: Block) -> Iterator[Command]:
    """What is typed in a block of language `console` or `sh`."""
    if block.language == "sh":
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
            if line and not line.startswith("#"):
                yield _command(line, "")
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        typed, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield _command(typed, shown)


def _command(typed: str, shown: str) -> Command:
    ends = ENDS.search(typed)
    return Command(ENDS.sub("", typed), shown, int(ends[1]) if ends else 0)


def matches(shown: str, output: str) -> bool:
    """Whether a page may show that for this output. Blanks count once; `...` is anything."""
    pattern = re.escape(" ".join(shown.split())).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, " ".join(output.split()), re.DOTALL) is not None


# --- what takes too long, or changes the machine


@dataclass(frozen=True)
class Left:
    """Why a command is not carried out, and what is done instead."""

    reason: str
    instead: Callable[[Path, list[str]], None]


def parsed(folder: Path, words: list[str]) -> None:
    """The program takes these words."""
    command: click.Command = verbs.testbed
    context = click.Context(command, info_name="testbed", **command.context_settings)
    while isinstance(command, click.Group):
        if not words:
            return
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command, context = found, click.Context(found, parent=context, info_name=name)
    expanded = [sorted(map(str, folder.glob(word))) or [word] for word in words]
    with _within(folder):
        command.make_context(command.name, list(chain.from_iterable(expanded)), parent=context.parent)


def _measured(folder: Path, words: list[str]) -> None:
    """The scenario can be run; its results are taken to be those of the repository's example."""
    said = subprocess.run(
        [sys.executable, "-m", "testbed", *words, "--dry-run"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    scenario = load_scenario(folder / next(word for word in words if word.endswith(".yaml")), CATALOGUE).value
    results = folder / (words[words.index("--results") + 1] if "--results" in words else "results")
    made = len(list(results.glob(f"{scenario.name}-*")))
    shutil.copytree(folder / "results/example", results / f"{scenario.name}-2026010{made + 1}-000000")


def _there(folder: Path, words: list[str]) -> None:
    """The files are in the repository."""
    for word in words:
        if "/" in word or word.endswith((".py", ".yaml")):
            assert (ROOT / word.partition("::")[0]).exists() or (folder / word).exists(), f"{word} is missing"


LEFT: Mapping[str, Left] = {
    "testbed run": Left("measures for half a minute or more", _measured),
    "testbed count": Left("boots a virtual machine", parsed),
    "testbed report": Left("draws all plots", parsed),
    "testbed shell": Left("waits for what is typed", parsed),
    "./setup.sh": Left("installs packages", _there),
    ".venv/bin/python -m pytest": Left("runs many tests", _there),
    "tests/vm": Left("boots a virtual machine", _there),
    ".ci/run": Left("runs all tests", _there),
    ".venv/bin/python -m tests.": Left("takes minutes, or writes into the repository", _there),
}
"""By how they begin: the commands of pages that no test carries out."""


def left(command: str) -> tuple[Left, list[str]] | None:
    """Whether a command is among those that are not carried out, with its words, without `testbed` before them."""
    words = shlex.split(command, comments=True)
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
        words = words[1:]
    text = " ".join(words).replace(".venv/bin/python -m testbed", "testbed").replace(".venv/bin/testbed", "testbed")
    for start, found in LEFT.items():
        if text.startswith(start) and "--dry-run" not in words:
            return found, text.split()[1:] if start.startswith("testbed") else words
    return None


# --- carrying out

Told = Callable[[Command, str, float], None]
"""Hears of each command, what it said, and how many seconds it took."""


def _failed(mistake: str) -> None:
    raise AssertionError(mistake)


class Reader:
    """Somebody who does what a page says, in a folder and a shell of their own."""

    def __init__(self, folder: Path, told: Told, mistaken: Callable[[str], None]) -> None:
        self.folder = folder
        self._told = told
        self._mistaken = mistaken
        for name in SHIPPED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("plots", "raw"))
            else:
                shutil.copy2(source, folder / name)
        (folder / ".venv").symlink_to(sys.prefix)
        self._output = folder / ".output"
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": str(folder), "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}", "COLUMNS": "100"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._say('sudo() { "$@"; }')

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()

    def read(self, page: str) -> None:
        """Does all that the page says, in order."""
        for block in blocks(page):
            self.follow(block)

    def follow(self, block: Block) -> None:
        if block.language in ("console", "sh") and not block.file:
            for command in commands(block):
                self._type(command, block.where)
            return
        if block.file:
            file = self.folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
            if block.text.startswith("#!"):
                file.chmod(0o755)
        elif block.language == "python":
            self._type(Command(f"python - <<'END'\n{block.text}END", "", 0), block.where)
        elif block.language == "diff":
            self._type(Command(f"patch -p1 <<'END'\n{block.text}END", "", 0), block.where)
        if block.language == "yaml":
            load(block, self.folder)

    def _type(self, command: Command, where: str) -> None:
        if found := left(command.text):
            found[0].instead(self.folder, found[1])
            return
        begun = time.monotonic()
        code, output = self._run(command.text)
        self._told(command, output, time.monotonic() - begun)
        wrong = ""
        if code != command.code:
            wrong = f"exit code {code}, not {command.code}"
        elif command.shown and not matches(command.shown, output):
            wrong = f"the page has\n{command.shown}"
        if wrong:
            self._mistaken(f"{where}: {command.text}\n{output}--- {wrong}")

    def _run(self, command: str) -> tuple[int, str]:
        here = " </dev/null" if "<<'END'" not in command else ""
        self._say(f"{{ {command}\n}} >{self._output} 2>&1{here}; __code=$?; echo $__code; (exit $__code)")
        watch = threading.Timer(SECONDS, self._shell.kill)
        watch.start()
        assert self._shell.stdout
        answer = self._shell.stdout.readline()
        watch.cancel()
        assert answer, f"{command} takes longer than {SECONDS} s, or ends the shell"
        return int(answer), self._output.read_text(errors="replace")

    def _say(self, text: str) -> None:
        assert self._shell.stdin
        self._shell.stdin.write(text + "\n")


@contextmanager
def reader(told: Told = lambda *_: None, mistaken: Callable[[str], None] = _failed) -> Iterator[Reader]:
    """A reader in a folder that ends with them; `mistaken` hears where a page is wrong."""
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        one = Reader(Path(folder), told, mistaken)
        try:
            yield one
        finally:
            one.close()


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# --- files that a page shows


TOPOLOGY: Mapping[str, Any] = {
    "name": "shown",
    "cluster": {"pod_cidr": "10.244.0.0/16"},
    "fabric": {"subnet": "192.168.56.0/24"},
    "nodes": {"node1": {"pods": ["client", "web-1"]}, "node2": {"pods": ["web-2"]}},
}
SCENARIO: Mapping[str, Any] = {
    "name": "shown",
    "topology": "topologies/two-nodes.yaml",
    "designs": ["l3-host-routes", "vxlan"],
    "baseline": "l3-host-routes",
    "paths": {"cross-node": {"from": "client", "to": "web-2"}},
    "probes": {"latency": {"tool": "sockperf"}, "throughput": {"tool": "iperf3"}},
}


def load(block: Block, folder: Path) -> None:
    """Reads what a block shows as the product would; what it lacks to be whole is taken from a plain file."""
    told = yaml.safe_load(block.text)
    assert isinstance(told, dict), block.where
    file = folder / (block.file or f"shown-{block.line}.yaml")
    if "apiVersion" in told and told["kind"] != "Cluster":
        read_manifests([(str(file), block.text)])
    elif told.get("kind") == "Cluster":
        file.write_text(block.text)
        imported(read_source(file))
    elif {"attach", "cni"} & told.keys():
        file.write_text(block.text)
        load_design(file, CATALOGUE)
    elif told.keys() <= {"name", "cluster", "fabric", "nodes", "pods_per_node"}:
        _write(file, TOPOLOGY, told)
        load_topology(file)
    else:
        _write(file, SCENARIO, told)
        load_scenario(file, CATALOGUE)


def _write(file: Path, plain: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    if file.exists() and plain.keys() & told.keys() >= {"name"}:
        return  # It is as the reader saved it.
    file.write_text(yaml.safe_dump({**plain, **told}, sort_keys=False))


# --- links


LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(page: str) -> list[str]:
    """Those that lead to somewhere in the repository."""
    return [link for link in LINK.findall(FENCE.sub("", text_of(page))) if not link.startswith("http")]


def anchors(page: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in HEADING.findall(FENCE.sub("", text_of(page)))
    }


def main(page: str) -> int:
    def told(command: Command, output: str, seconds: float) -> None:
        print(f"$ {command.text}\n{output}[{seconds:.1f} s]", flush=True)

    def body() -> int:
        with reader(told, lambda mistake: print(f"!!! {mistake}", flush=True)) as one:
            one.read(page)
        return 0

    return enclosed(body)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
