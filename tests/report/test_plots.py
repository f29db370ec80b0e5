import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from testbed.experiment.results import LAB, LOOPBACK, Histogram, Results, Sample, binned, read_results
from testbed.report import statistics, summaries_of
from testbed.report.plots import draw_plots, figures, forest
from testbed.report.plots.factors import factors
from testbed.report.plots.lettering import fitted, text_width, wrapped
from testbed.report.plots.sheet import BASELINE_COLOUR, COLOURS, DPI, FAINT, GRID, INK, PAPER, STYLE, looks
from testbed.report.run import Run, read_run
from testbed.report.statistics import Series, Summary
from testbed.spec.scenario import AA, LIMITS

Make = Callable[..., Path]
Spread = Callable[..., Any]

MANY = ("l2", "l3-gateway", "l3-host-routes", "vxlan", "ipip", "geneve", "macvlan", "a" * 20 + "-" + "b" * 20)
PROBES = {
    "latency": {"tool": "sockperf", "protocol": "tcp", "message": 64, "duration": 1.0},
    "throughput": {"tool": "iperf3", "protocol": "tcp", "streams": 1, "duration": 1.0},
    "open": {"tool": "irtt", "interval": 0.002, "load": 0, "duration": 2.0},
    "loaded": {"tool": "irtt", "interval": 0.002, "load": 1, "duration": 2.0},
    "new": {"tool": "wrk", "connections": 8, "duration": 2.0},
    "ping": {"tool": "fping", "duration": 1.0},
}
DISTRIBUTIONS = {
    "latency": ("rtt", 20.0),
    "open": ("open_rtt", 60.0),
    "loaded": ("loaded_rtt", 900.0),
    "new": ("connect", 80.0),
    "ping": ("icmp_rtt", 12.0),
}
FROM_TO = ("client", "web-2")


@dataclass
class Made:
    """Synthetic results. Each design is `step` slower than the previous one, except on the path `same-node`.

    The A/A arm equals the baseline.
    """

    designs: Sequence[str] = ("l2", "l3-host-routes", "vxlan")
    baseline: str = "l3-host-routes"
    paths: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {"cross-node": FROM_TO})
    probes: Sequence[str] = ("latency", "throughput")
    rounds: int = 5
    sweep: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aa: bool = True
    building: bool = True
    step: float = 0.1
    noise: float = 0.004
    """Standard deviation of the logarithm between rounds; `spread` is that of single values."""
    spread: float = 0.1
    ceiling: float | None = None
    """Gbit/s that iperf3 reaches over loopback."""

    def results(self) -> Results:
        cells = [dict(zip(self.sweep, values, strict=True)) for values in itertools.product(*self.sweep.values())]
        names = {self._name(cell): cell for cell in cells}
        arms = {name: name for name in self.designs} | ({AA: self.baseline} if self.aa else {})
        rng = np.random.default_rng(1)
        samples: list[Sample] = []
        histograms: list[Histogram] = []
        for round_, (index, cell), (turn, (arm, design)) in itertools.product(
            range(self.rounds + 1), enumerate(names), enumerate(arms.items(), start=1)
        ):
            slower = (1 + self.step) ** self.designs.index(design) * (1 + index)

            def add(path: str, probe: str, metric: str, unit: str, value: float) -> None:
                where = (round_, turn, cell, arm, path, probe)  # noqa: B023 (called only in this iteration)
                samples.append(Sample(*where, metric, unit, value * rng.lognormal(0, self.noise), "2026-11-21"))

            if self.building:
                add(LAB, LAB, "build_time", "ms", 90 * slower)
                add(LAB, LAB, "attach_time", "ms", 2.0)
            for path, probe in itertools.product(self.paths, self.probes):
                here = 1 + index if path == "same-node" else slower
                if probe == "throughput":
                    add(path, probe, "throughput", "Gbit/s", 20 / here)
                    add(path, probe, "cpu_per_gbit", "s/Gbit", 0.1 * here)
                if probe == "new":
                    add(path, probe, "connections", "1/s", 9_000 / here)
                    add(path, probe, "cpu_per_request", "us", 70 * here)
                if probe in DISTRIBUTIONS:
                    metric, base = DISTRIBUTIONS[probe]
                    values = base * here * rng.lognormal(0, self.spread, 300)
                    histograms.append(Histogram(round_, cell, arm, path, probe, metric, "us", *binned(values)))
                    for q in (50, 90, 99):
                        add(path, probe, f"{metric}_p{q}", "us", float(np.percentile(values, q)))
        if self.ceiling is not None:
            where = (1, 1, "", LIMITS, LOOPBACK, "throughput")
            samples.append(Sample(*where, "throughput", "Gbit/s", self.ceiling, "2026-11-21"))
        return Results(Path("nowhere"), self._manifest(names), tuple(samples), tuple(histograms))

    @staticmethod
    def _name(cell: Mapping[str, str]) -> str:
        return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in cell.items())

    def _manifest(self, cells: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        return {
            "scenario": {
                "name": "synthetic",
                "designs": list(self.designs),
                "baseline": self.baseline,
                "paths": {name: {"from": one, "to": other} for name, (one, other) in self.paths.items()},
                "probes": {name: PROBES[name] for name in self.probes},
                "rounds": self.rounds,
                "sweep": {path: list(values) for path, values in self.sweep.items()},
            },
            "cells": [{"name": name, "factors": dict(factors)} for name, factors in cells.items() if name],
            "machine": {"kernel": "6.1.0"},
            "state": "done",
        }


def judged(results: Results) -> tuple[Run, tuple[Series, ...], tuple[Summary, ...]]:
    run, series = read_run(results), statistics.series(results.samples)
    return run, series, summaries_of(run, series, results)


def plots_of(results: Results) -> dict[str, tuple[str, Figure]]:
    run, series, summaries = judged(results)
    drawn = list(figures(run, series, summaries, statistics.pooled(results.histograms)))
    assert len({name for name, _, _ in drawn}) == len(drawn)
    return {name: (question, figure) for name, question, figure in drawn}


def drawn(folder: Path) -> dict[str, Figure]:
    return {name: figure for name, (_, figure) in plots_of(read_results(folder)).items()}


def texts(figure: Figure) -> list[Text]:
    """All drawn texts; labels of ticks outside their axis' range are not drawn."""
    unseen = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    every = (text for text in figure.findobj(Text) if isinstance(text, Text) and text not in unseen)
    return [text for text in every if text.get_visible() and text.get_text()]


def written(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in texts(figure))


def assert_readable(name: str, figure: Figure) -> None:
    """Assert that texts do not overlap or exceed the figure, at the resolution of the saved file."""
    figure.set_dpi(DPI)
    with mpl.rc_context(STYLE):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
    shown = [(text.get_text(), Text.get_window_extent(text, renderer)) for text in texts(figure)]
    for one, box in shown:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, (name, one)
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, (name, one)
    for (one, box), (other, other_box) in itertools.combinations(shown, 2):
        assert not box.padded(-2).overlaps(other_box.padded(-2)), (name, one, other)


def gbit(design: str, path: str, round_: int) -> float:
    return 9 + len(design) % 7 + round_ / 10


def test_each_plot_names_probe_rounds_kernel_and_scenario(make: Make, spread_rtt: Spread) -> None:
    designs = ("l2", "l3-host-routes")
    plots = drawn(make(designs=designs, throughput=gbit, rtt=spread_rtt(designs)))
    assert list(plots) == [
        *("forest", "throughput", "latency-percentiles", "latency-distribution"),
        *("rounds-throughput", "rounds-rtt_p50"),
    ]
    for name, figure in plots.items():
        said = written(figure)
        probe = (
            "sockperf tcp, 64 B messages, 2 s" if "latency" in name or "rtt" in name else "iperf3 tcp, 1 stream, 2 s"
        )
        for fact in (probe, "n = 5 rounds", "Linux 6.1.0", "scenario synthetic", "client → web-2", "l2", "?"):
            assert fact in said, name
        unit = "ratio" if "rounds" in name or name == "forest" else "Gbit/s" if name == "throughput" else "µs"
        assert unit in said


@pytest.mark.parametrize(
    ("designs", "paths"),
    [(MANY[1:3], 1), (MANY[1:3], 6), (MANY, 1), (MANY, 6)],
    ids=lambda value: str(len(value)) if isinstance(value, tuple) else str(value),
)
def test_texts_do_not_overlap_or_exceed_the_figure(designs: tuple[str, ...], paths: int) -> None:
    named = {f"path-{i}": ("client", f"web-{i}") for i in range(paths)}
    if paths > 3:
        named |= {"p" * 63: ("client", "web-1"), "path-3": ("c" * 63, "w" * 63)}
    made = Made(designs=designs, baseline=designs[-1], paths=named, ceiling=40.0)
    plots = plots_of(made.results())
    assert {"forest", "throughput", "latency-percentiles", "cost-throughput", "rounds-build_time"} <= set(plots)
    for name, (_, figure) in plots.items():
        assert_readable(name, figure)


@pytest.mark.parametrize(
    "sweep",
    [
        {"offload": ("on", "off")},
        {"probes.latency.message": ("64B", "512B", "1400B", "1500B", "4KiB", "16KiB", "64000B")},
        {
            "topology.fabric.delay": ("0ms", "1ms", "100ms"),
            "pin": ("auto", '{"source": 0, "target": "0,1", "steering": 1}'),
        },
    ],
    ids=lambda sweep: "+".join(sweep),
)
def test_texts_of_a_sweep_do_not_overlap_or_exceed_the_figure(sweep: dict[str, tuple[str, ...]]) -> None:
    made = Made(designs=MANY, baseline="l2", paths={"same-node": FROM_TO, "p" * 63: FROM_TO}, sweep=sweep)
    for name, (_, figure) in plots_of(made.results()).items():
        assert_readable(name, figure)


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_texts_do_not_overlap_with_values_over_decades_and_few_rounds(noise: float) -> None:
    paths = {"same-node": FROM_TO, "cross-node": FROM_TO}
    made = Made(paths=paths, probes=("latency", "throughput", "new"), rounds=2, noise=noise, spread=noise, ceiling=5.0)
    plots = plots_of(made.results())
    assert "not resolved" in written(plots["forest"][1]).splitlines()
    for name, (_, figure) in plots.items():
        assert_readable(name, figure)


def test_an_unmeasured_metric_has_no_plot(make: Make) -> None:
    assert set(drawn(make("a", throughput=gbit))) == {"forest", "throughput", "rounds-throughput"}
    assert drawn(make("b", rounds=0, throughput=gbit)) == {}


def test_a_single_design_has_no_comparison_plots(make: Make) -> None:
    assert set(drawn(make(designs=["l2"], baseline="l2", throughput=gbit))) == {"throughput"}


def test_a_single_design_is_compared_with_its_a_a_arm() -> None:
    made = Made(designs=["l2"], baseline="l2", probes=["throughput"], building=False)
    plots = plots_of(made.results())
    assert {"forest", "rounds-throughput"} <= set(plots)
    assert "l2 again" in written(plots["forest"][1])


def test_each_of_two_probes_of_one_kind_has_a_plot(make: Make, spread_rtt: Spread) -> None:
    folder = make(rtt=spread_rtt(MANY), latency_probes=("tcp", "udp"))
    plots = plots_of(read_results(folder))
    assert {"latency-percentiles-tcp", "latency-distribution-udp", "rounds-rtt_p50-tcp"} <= set(plots)
    assert plots["latency-percentiles-tcp"][0] == "tcp: how long does a request wait for its answer?"


def test_each_distribution_has_its_own_title() -> None:
    plots = plots_of(Made(designs=MANY[1:3], probes=tuple(DISTRIBUTIONS), building=False, rounds=1).results())
    asked = {name: question for name, (question, _) in plots.items() if name.startswith("latency")}
    kinds = ("", "-open_rtt", "-loaded_rtt", "-icmp_rtt", "-connect")
    assert set(asked) == {f"latency-{what}{kind}" for what in ("percentiles", "distribution") for kind in kinds}
    assert len(set(asked.values())) == len(asked)
    assert "during bulk transfers" in asked["latency-percentiles-loaded_rtt"]
    assert "RTT under load, µs" in written(plots["latency-percentiles-loaded_rtt"][1])
    assert "connections" in asked["latency-distribution-connect"]


def test_a_plot_does_not_repeat_the_events_of_the_run(make: Make) -> None:
    states = {"l2": {"state": "failed"}, "vxlan": {"state": "unavailable"}}
    plots = drawn(make(throughput=gbit, design_states=states))
    assert not {"failed", "unavailable"} & set(written(plots["throughput"]).replace("(", " ").replace(")", " ").split())


def test_p999_is_absent_without_ten_thousand_values(make: Make, spread_rtt: Spread) -> None:
    designs = ("l2", "l3-host-routes")
    few = drawn(make("few", designs=designs, rounds=3, rtt=spread_rtt(designs, 3_000)))
    many = drawn(make("many", designs=designs, rounds=4, rtt=spread_rtt(designs, 3_000)))
    column = {text.get_text() for text in texts(few["latency-percentiles"])}
    assert "p99" in column and "p99.9" not in column
    assert "p99.9" in {text.get_text() for text in texts(many["latency-percentiles"])}


def test_the_forest_shows_verdicts_or_detectable_differences() -> None:
    paths = {"same-node": ("client", "web-1"), "cross-node": FROM_TO}
    run, _, summaries = judged(Made(paths=paths, building=False).results())
    verdicts = {(s.path, s.design): s.verdict for s in summaries if s.metric == "throughput"}
    assert (verdicts["same-node", "vxlan"], verdicts["cross-node", "vxlan"]) == ("not resolved", "slower")
    (page,) = forest.pages([s for s in summaries if s.metric == "throughput"])
    said = [text.get_text() for text in texts(forest.draw(run, page))]
    assert [text for text in said if text in ("faster", "slower")] == ["faster", "slower"]
    assert sum(bool(re.fullmatch(r"< [0-9.]+%", text)) for text in said) == 4
    assert said.count("l3-host-routes again") == 2 and "Throughput: right is better" in said


@pytest.mark.parametrize(("path", "is_filled"), [("cross-node", True), ("same-node", False)])
def test_a_mark_is_filled_only_if_the_verdict_is_resolved(path: str, is_filled: bool) -> None:
    made = Made(paths={path: FROM_TO}, probes=["throughput"], building=False, noise=0.002)
    run, _, summaries = judged(made.results())
    (page,) = forest.pages(summaries)
    faces = {
        (to_hex(line.get_markeredgecolor()), to_hex(line.get_markerfacecolor()))
        for axes in forest.draw(run, page).axes
        for line in axes.lines
        if line.get_marker() not in ("None", "", None)
    }
    colours = [looks(run)[name].colour for name in ("l2", "vxlan")]
    marks = {(PAPER, colour) if is_filled else (colour, PAPER) for colour in colours}
    assert faces == {*marks, (BASELINE_COLOUR, PAPER)}


def test_the_pages_of_the_forest_have_each_comparison_once_main_metrics_first() -> None:
    paths = {f"path-{i}": FROM_TO for i in range(6)}
    _, _, summaries = judged(Made(designs=MANY, baseline="l2", paths=paths, rounds=1).results())
    pages = list(forest.pages(summaries))
    shown = [s for page in pages for s in page]
    wanted = [s for s in summaries if s.ratio is not None and s.verdict not in ("baseline", "")]
    assert len(pages) > 1 and len(shown) == len(wanted) and set(shown) == set(wanted)
    assert list(dict.fromkeys(s.metric for s in shown))[:3] == ["throughput", "rtt_p50", "build_time"]


def test_an_interval_without_bounds_leaves_the_others_readable() -> None:
    run, _, summaries = judged(Made(probes=["throughput"], building=False).results())
    wild = [replace(s, ratio_low=1e-300, ratio_high=1e300) if s.design == "l2" else s for s in summaries]
    (page,) = forest.pages(wild)
    figure = forest.draw(run, page)
    low, high = figure.axes[0].get_xlim()
    assert 0.01 < low < 1 < high < 100
    arrows = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in ("<", ">")]
    assert arrows == ["<", ">"]


def test_cost_pairs_gain_and_price_of_the_same_probe() -> None:
    results = Made(probes=["throughput", "new"], building=False).results()
    doubled = [replace(s, probe="second", value=2 * (s.value or 0)) for s in results.samples if s.probe == "throughput"]
    plots = plots_of(replace(results, samples=(*results.samples, *doubled)))
    assert {"cost-throughput-throughput", "cost-throughput-second", "cost-connections"} <= set(plots)
    reached = {
        name: max(axes.get_ylim()[1] for axes in plots[name][1].axes)
        for name in ("cost-throughput-throughput", "cost-throughput-second")
    }
    assert reached["cost-throughput-second"] > 1.5 * reached["cost-throughput-throughput"]
    assert "CPU time per request, µs" in written(plots["cost-connections"][1])


def test_widely_spread_costs_get_logarithmic_axes() -> None:
    results = Made(probes=["throughput"], building=False).results()
    scales = {"throughput": 0.01, "cpu_per_gbit": 100.0}
    slowed = [
        replace(s, value=scales.get(s.metric, 1.0) * (s.value or 0)) if s.design == "l2" else s for s in results.samples
    ]
    for samples, scale, said in ((results.samples, "linear", False), (slowed, "log", True)):
        _, figure = plots_of(replace(results, samples=tuple(samples)))["cost-throughput"]
        assert {(axes.get_xscale(), axes.get_yscale()) for axes in figure.axes if axes.lines} == {(scale, scale)}
        assert ("Both axes are logarithmic." in " ".join(written(figure).split())) is said
        assert_readable("cost-throughput", figure)


@pytest.mark.parametrize(("ceiling", "said"), [(22.0, "loopback 22.0"), (400.0, "loopback 400 →"), (None, "")])
def test_throughput_shows_the_probes_loopback_limit(ceiling: float | None, said: str) -> None:
    plots = plots_of(Made(probes=["throughput"], ceiling=ceiling).results())
    found = [text.get_text() for text in texts(plots["throughput"][1]) if text.get_text().startswith("loopback")]
    assert found == ([said] if said else [])


def test_a_swept_probe_has_no_loopback_limit() -> None:
    made = Made(probes=["throughput"], sweep={"probes.throughput.streams": ("1", "2")}, ceiling=22.0)
    assert "oopback" not in written(plots_of(made.results())["throughput-cell-1"][1])


@pytest.mark.parametrize(("cells", "per_cell", "paired"), [(2, True, True), (3, False, True), (5, False, False)])
def test_a_large_sweep_has_sweep_plots_instead_of_plots_per_cell(cells: int, per_cell: bool, paired: bool) -> None:
    made = Made(building=False, sweep={"topology.fabric.mtu": [str(1500 * (i + 1)) for i in range(cells)]})
    plots = plots_of(made.results())
    assert {"sweep-throughput", "sweep-rtt_p50"} <= set(plots)
    assert ("forest-cell-1" in plots, "latency-distribution-cell-2" in plots) == (per_cell, per_cell)
    assert ("rounds-throughput" in plots) == paired
    if per_cell:
        assert "(mtu=1500)" in plots["forest-cell-1"][0] and "(mtu=3000)" in plots["cost-throughput-cell-2"][0]


def test_a_sweep_is_drawn_over_the_values_as_the_user_wrote_them() -> None:
    made = Made(building=False, sweep={"probes.latency.message": ("64B", "4KiB", "1400B")})
    question, figure = plots_of(made.results())["sweep-rtt_p50"]
    assert question == "RTT p50: how does it change with message?"
    values, ratios = figure.axes
    assert values.get_xscale() == "log" and [t.get_text() for t in values.get_xticklabels()] == ["64B", "1400B", "4KiB"]
    assert list(values.get_xticks()) == [64, 1400, 4096]
    low, high = ratios.get_ylim()
    assert low < 1 < high
    assert "probes.latency.message, logarithmic" in written(figure)


def test_further_factors_have_own_panels_and_omitted_panels_are_named() -> None:
    sweep = {
        "offload": ("on", "off"),
        "topology.fabric.mtu": ("1500", "9000"),
        "pin": ("auto", "off"),
        "topology.nodes": ("2", "4"),
    }
    made = Made(probes=["throughput"], building=False, rounds=1, aa=False, sweep=sweep)
    said = written(plots_of(made.results())["sweep-throughput"][1])
    assert "how does it change with mtu?" in said
    assert "cross-node: client → web-2, nodes=2, offload=on, pin=auto" in said
    assert "Not shown: " in said.replace("\n", " ")


def test_a_sweep_with_too_many_panels_has_one_figure_per_path() -> None:
    sweep = {"topology.nodes": ("2", "4"), "offload": ("on", "off"), "pin": ("auto", "off")}
    paths = {"same-node": FROM_TO, "cross-node": FROM_TO}
    made = Made(probes=["throughput"], building=False, rounds=1, aa=False, paths=paths, sweep=sweep)
    questions = {name: question for name, (question, _) in plots_of(made.results()).items()}
    assert questions == {
        f"sweep-throughput-{path}": f"Throughput on {path}: how does it change with nodes?" for path in paths
    }


@pytest.mark.parametrize(
    ("values", "places", "is_numeric"),
    [
        (("9000", "1500"), (1500, 9000), True),
        (("64B", "4KiB", "1KB"), (64, 1000, 4096), True),
        (("100Mbit", "1Gbit"), (1e8, 1e9), True),
        (("500ms", "2s"), (0.5, 2), True),
        (("0.5%", "1%"), (0.5, 1), True),
        (("on", "off"), (0, 1), False),
        (("1", "auto"), (0, 1), False),
        (("1s", "64B"), (0, 1), False),
        (("1000B", "1KB"), (0, 1), False),
    ],
)
def test_a_factor_is_numeric_if_all_values_have_the_same_base_unit(
    values: tuple[str, ...], places: tuple[float, ...], is_numeric: bool
) -> None:
    made = Made(designs=["l2"], baseline="l2", probes=[], rounds=1, sweep={"topology.x": values})
    (factor,) = factors(read_run(made.results()))
    assert (factor.places, factor.is_numeric) == (places, is_numeric)


def test_each_design_has_its_own_look() -> None:
    look = looks(read_run(Made(designs=MANY, baseline="vxlan", probes=[], rounds=1).results()))
    assert len({(how.colour, how.hollow) for how in look.values()}) == len(MANY) + 1
    assert len({(how.marker, how.hollow) for how in look.values()}) == len(MANY) + 1


def test_a_dollar_in_a_name_is_not_a_formula(make: Make) -> None:
    plots = drawn(make(designs=["$x", "l2$"], baseline="$x", throughput=gbit))
    assert all(not text.get_parse_math() for figure in plots.values() for text in texts(figure))


def test_the_same_results_give_the_same_bytes_with_known_colours(tmp_path: Path) -> None:
    results = Made(designs=MANY[1:3], building=False, sweep={"offload": ("on", "off")}, ceiling=22.0).results()
    run, series, summaries = judged(results)
    pooled = statistics.pooled(results.histograms)
    first = draw_plots(tmp_path / "a", run, series, summaries, pooled)
    again = draw_plots(tmp_path / "b", run, series, summaries, pooled)
    for one, other in zip(first, again, strict=True):
        assert one.png.read_bytes() == other.png.read_bytes()
        assert one.svg.read_bytes() == other.svg.read_bytes()
        colours = set(re.findall(r"#[0-9a-f]{6}\b", one.svg.read_text("utf-8")))
        assert colours <= {INK, FAINT, GRID, PAPER, BASELINE_COLOUR, *COLOURS}, one.name


def test_texts_are_fitted_to_a_width() -> None:
    name = "a-rather-long-name" * 5
    assert text_width(fitted(name, 1.0)) <= 1.0 and fitted(name, 1.0)[0] == "a" and fitted(name, 1.0)[-1] == "e"
    assert fitted("short", 1.0) == "short"
    lines = wrapped(f"what differs from {name} here", 2.0)
    assert all(text_width(line) <= 2.0 for line in lines) and lines[0] == "what differs from"
