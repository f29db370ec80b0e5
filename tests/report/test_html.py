import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from testbed.report import html, write_report

Make = Callable[..., Path]
Spread = Callable[..., Any]

HOSTILE = '"><script>alert(1)</script>'
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Collects ids, references, tags and the visible text, and checks that tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def gbit(design: str, path: str, round_: int) -> float | None:
    return None if design == "vxlan" and round_ == 2 else 10.0 + round_ / 100


def page(folder: Path) -> tuple[str, Reader]:
    text = write_report(folder).html.read_text("utf-8")
    return text, Reader(text)


def full(make: Make, spread_rtt: Spread, **fields: object) -> Path:
    designs = ("l2", "l3-host-routes", "vxlan")
    return make(designs=designs, throughput=gbit, rtt=spread_rtt(designs), **fields)


def test_the_page_is_self_contained(make: Make, spread_rtt: Spread) -> None:
    text, reader = page(full(make, spread_rtt))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert all(reference.startswith(("#", "data:")) for reference in reader.references)
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    assert reader.open == []


def test_ids_of_drawings_are_unique_and_references_resolve(make: Make, spread_rtt: Spread) -> None:
    text, reader = page(full(make, spread_rtt))
    assert text.count("<svg") == 6
    assert len(reader.ids) == len(set(reader.ids))
    used = [r.removeprefix("#") for r in reader.references if r.startswith("#")] + re.findall(r"url\(#([^)]+)\)", text)
    assert used and set(used) <= set(reader.ids)


def test_the_drawings_follow_light_and_dark(make: Make, spread_rtt: Spread) -> None:
    text, _ = page(full(make, spread_rtt))
    drawings = text[text.index("<svg") : text.rindex("</svg>")]
    assert "var(--ink)" in drawings
    assert not any(colour in drawings for colour in html.PAGE_COLOURS)
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_answers_come_before_tables_and_plots(make: Make, spread_rtt: Spread) -> None:
    text, _ = page(full(make, spread_rtt))
    assert text.index('<table class="overview"') < text.index("Not resolved against l3-host-routes")
    assert text.index("Not resolved against l3-host-routes") < text.index('<table class="verdicts"')
    assert text.index('<table class="verdicts"') < text.index("<svg")
    assert "Not resolved does not mean equal" in text


def test_hostile_names_and_reasons_are_escaped(make: Make) -> None:
    folder = make(
        designs=["l2", HOSTILE],
        baseline="l2",
        paths={HOSTILE: (HOSTILE, HOSTILE)},
        throughput=lambda design, path, round_: None if round_ == 1 else 10.0,
        design_states={"l2": {"evidence": [HOSTILE], "summary": HOSTILE, "reason": HOSTILE}},
        manifest={
            "scenario_text": HOSTILE,
            "reason": HOSTILE,
            "state": "failed",
            "tools": {HOSTILE: HOSTILE},
        },
        write_plans=False,
    )
    text, reader = page(folder)
    assert "<script" not in text
    assert "script" not in reader.tags
    assert HOSTILE in reader.text


def test_failures_are_shown_and_counted(make: Make, spread_rtt: Spread) -> None:
    failures = ["pod client -> pod web-2 udp: no answer", "pod web-2 -> pod client udp: no answer"]
    check = {"asked": 60, "passed": 58, "failures": failures}
    states = {"l2": {"state": "failed", "reason": "2 questions unanswered", "check": check}}
    _, reader = page(full(make, spread_rtt, design_states=states))
    assert "58 of 60" in reader.text
    assert all(failure in reader.text for failure in failures)
    assert "1 \N{MULTIPLICATION SIGN} iperf3 failed with exit code 1: no route to host" in reader.text
    assert "throughput; vxlan; cross-node" in reader.text


def test_the_page_contains_the_facts_of_the_run(make: Make, spread_rtt: Spread) -> None:
    _, reader = page(full(make, spread_rtt))
    for fact in (
        *(
            "--seed 123",
            "testbed run scenarios/synthetic.yaml",
            "testbed report results/results",
            "Linux 6.1.0",
        ),
        *(
            "a processor",
            "8.0 GiB",
            "iperf 3.12",
            "node1 eth0",
            "tso gso",
        ),
        *("name: synthetic", "name: two-nodes", "ip link add a type veth", "93.75% for 5"),
        *("6 frames with pod MACs seen on the fabric", "sockperf tcp, 64 B messages, 2 s"),
    ):
        assert fact in reader.text, fact


def test_a_huge_drawing_is_embedded_as_png() -> None:
    png = html.embedded("AAAA", 'a "title"')
    assert png == '<img alt="a &#34;title&#34;" src="data:image/png;base64,AAAA">'
