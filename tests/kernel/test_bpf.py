"""eBPF programs: compile cache, full error messages, attaching, counting."""

import os
import subprocess
from pathlib import Path

import pytest

from testbed.kernel.bpf import BpfRefused, BpfState, attach, compiled, fill, load, state_of
from testbed.kernel.encode import link_up
from testbed.kernel.folders import make_folders, root_of
from testbed.kernel.links import links
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import send
from testbed.plan.objects import Bpf, BpfEntry, BpfHook

GOOD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 4);
} verdicts SEC(".maps");

SEC("tc")
int judge(struct __sk_buff *ctx)
{
	__u32 key = ctx->ifindex, only = 0, *verdict = bpf_map_lookup_elem(&verdicts, &key);
	__u64 *count = bpf_map_lookup_elem(&seen, &only);

	if (count)
		++*count;
	return verdict ? *verdict : 0;
}

char LICENSE[] SEC("license") = "GPL";
"""
WILD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int wild(struct __sk_buff *ctx)
{
	return *(char *)(long)ctx->data; /* Without a comparison with data_end. */
}

char LICENSE[] SEC("license") = "GPL";
"""
LOOPBACK = 1
HOOKS = (BpfHook("lo", "ingress", "judge"), BpfHook("lo", "egress", "judge"))
PASS = BpfEntry("verdicts", LOOPBACK.to_bytes(4, "little"), bytes(4))

pytestmark = pytest.mark.needs("bpf")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for name, text in (("good", GOOD), ("wild", WILD), ("broken", f"{GOOD}\nthis is no C\n")):
        (folder / f"{name}.c").write_text(text)
    return folder


def own_folders() -> Path:
    """The root folder with private folders, in the capsule's mount namespace."""
    make_folders(os.getpid(), ())
    return root_of(os.getpid())


def pinged() -> bool:
    return subprocess.run(["ping", "-c", "1", "-W", "1", "127.0.0.1"], capture_output=True).returncode == 0


def test_compiled_programs_are_cached(cache: Path, sources: Path) -> None:
    first = compiled(Bpf("good", ()), sources)
    made = first.stat().st_mtime_ns
    assert first.is_relative_to(cache)
    assert compiled(Bpf("good", ()), sources) == first
    assert first.stat().st_mtime_ns == made
    assert compiled(Bpf("good", ("TUNNEL",)), sources) != first
    (sources / "good.c").write_text(GOOD.replace("++*count", "*count += 2"))
    assert compiled(Bpf("good", ()), sources) != first


def test_an_error_has_the_whole_compiler_output(cache: Path, sources: Path) -> None:
    with pytest.raises(BpfRefused) as caught:
        compiled(Bpf("broken", ()), sources)
    said = str(caught.value)
    line = GOOD.count("\n") + 2
    assert f"broken.c:{line}:1: error: unknown type name 'this'" in said
    assert "this is no C" in said
    assert "error generated" in said or "errors generated" in said
    assert not list(cache.rglob("broken*.o"))


@pytest.mark.sealed
def test_an_error_has_the_whole_verifier_log(cache: Path, sources: Path) -> None:
    with pytest.raises(BpfRefused) as caught:
        wild = Bpf("wild", ())
        load(wild, compiled(wild, sources), own_folders())
    said = str(caught.value)
    assert said.startswith("the kernel refuses the programs of wild.o:")
    assert "BEGIN PROG LOAD LOG" in said
    assert "invalid access to packet, off=0 size=1" in said
    assert "END PROG LOAD LOG" in said


@pytest.mark.sealed
def test_an_attached_program_decides_and_counts(cache: Path, sources: Path) -> None:
    root, bpf = own_folders(), Bpf("good", (), HOOKS, (PASS,))
    namespace = Namespace.create()
    try:
        with namespace.entered():
            send([link_up(LOOPBACK)])
            indices = {link.name: link.index for link in links()}
            assert state_of(bpf, indices) == BpfState(frozenset(), {})
            load(bpf, compiled(bpf, sources), root)
            fill([PASS], root)
            attach(HOOKS, (), indices.__getitem__, Path(f"{root}{bpf.pins}"))
            found = state_of(bpf, indices)
            assert found.hooks == frozenset(HOOKS)
            assert found.maps["verdicts"] == {PASS.key: PASS.value}
            assert pinged()
            counts = state_of(bpf, indices).maps["seen"][bytes(4)]
            values = [int.from_bytes(counts[at : at + 8], "little") for at in range(0, len(counts), 8)]
            assert sum(values) == 4  # Request and reply, out and in.
            fill([BpfEntry("verdicts", PASS.key, (2).to_bytes(4, "little"))], root)  # TC_ACT_SHOT
            assert not pinged()
            # The map has room for four entries.
            more = [BpfEntry("verdicts", number.to_bytes(4, "little"), bytes(4)) for number in range(2, 6)]
            refusal = r"bpftool map update pinned .*/verdicts key .*: Argument list too long"
            with pytest.raises(BpfRefused, match=refusal):
                fill(more, root)
            assert len(state_of(bpf, indices).maps["verdicts"]) == 4
    finally:
        namespace.close()
