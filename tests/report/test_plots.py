import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from testbed.experiment.results import read_results
from testbed.report import statistics
from testbed.report.plots import figures
from testbed.report.plots.sheet import STYLE, looks
from testbed.report.run import read_run

Make = Callable[..., Path]
Spread = Callable[..., Any]

MANY = ("l2", "l3-gateway", "l3-host-routes", "vxlan", "ipip", "geneve", "macvlan", "a" * 20 + "-" + "b" * 20)


def drawn(folder: Path) -> dict[str, Figure]:
    results = read_results(folder)
    run = read_run(results)
    series = statistics.series(results.samples)
    summaries = statistics.summarise(series, run.baseline)
    pooled = statistics.pooled(results.histograms)
    return {name: figure for name, _, figure in figures(run, series, summaries, pooled)}


def texts(figure: Figure) -> list[Text]:
    """All that is written; a tick's label outside of its axis' range is not drawn."""
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


def gbit(design: str, path: str, round_: int) -> float:
    return 9 + len(design) % 7 + round_ / 10


def test_each_plot_says_what_was_measured_how_often_and_where(make: Make, spread_rtt: Spread) -> None:
    designs = ("l2", "l3-host-routes")
    plots = drawn(make(designs=designs, throughput=gbit, rtt=spread_rtt(designs)))
    assert set(plots) == {
        "throughput",
        "latency-percentiles",
        "latency-distribution",
        "rounds-throughput",
        "rounds-rtt_p50",
    }
    for name, figure in plots.items():
        said = written(figure)
        probe = "iperf3 tcp, 1 stream, 2 s" if "throughput" in name else "sockperf tcp, 64 B messages, 2 s"
        for fact in (probe, "n = 5 rounds", "Linux 6.1.0", "scenario synthetic", "client → web-2", "l2", "?"):
            assert fact in said, name
        unit = "ratio" if "rounds" in name else "Gbit/s" if name == "throughput" else "µs"
        assert unit in said


@pytest.mark.parametrize("designs", [2, 8])
@pytest.mark.parametrize("paths", [1, 3, 6])
def test_no_text_covers_another_or_leaves_the_figure(make: Make, spread_rtt: Spread, designs: int, paths: int) -> None:
    names = MANY[:designs] if designs < 8 else MANY
    folder = make(
        designs=names,
        baseline=names[1],
        paths={f"path-{i}": ("client", f"web-{i}") for i in range(paths)},
        throughput=gbit,
        rtt=spread_rtt(names, 200),
    )
    for name, figure in drawn(folder).items():
        with mpl.rc_context(STYLE):
            renderer = FigureCanvasAgg(figure).get_renderer()
            figure.draw(renderer)
        shown = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
        for one, box in shown:
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, (name, one)
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, (name, one)
        for (one, box), (other, other_box) in itertools.combinations(shown, 2):
            assert not box.padded(-1).overlaps(other_box.padded(-1)), (name, one, other)


def test_a_metric_that_was_not_measured_has_no_plot(make: Make) -> None:
    assert set(drawn(make("a", throughput=gbit))) == {"throughput", "rounds-throughput"}
    assert drawn(make("b", rounds=0, throughput=gbit)) == {}


def test_one_design_alone_has_no_paired_rounds(make: Make) -> None:
    assert set(drawn(make(designs=["l2"], baseline="l2", throughput=gbit))) == {"throughput"}


def test_two_probes_of_one_kind_have_a_plot_each(make: Make, spread_rtt: Spread) -> None:
    plots = drawn(make(rtt=spread_rtt(MANY), latency_probes=("tcp", "udp")))
    assert {"latency-percentiles-tcp", "latency-distribution-udp", "rounds-rtt_p50-tcp"} <= set(plots)


def test_a_plot_names_the_designs_that_could_not_be_measured(make: Make) -> None:
    states = {"l2": {"state": "failed"}, "vxlan": {"state": "unavailable"}}
    plots = drawn(make(throughput=gbit, design_states=states))
    assert "Not measured: l2 (failed) and vxlan (unavailable)." in written(plots["throughput"])


def test_p999_is_absent_without_ten_thousand_values(make: Make, spread_rtt: Spread) -> None:
    designs = ("l2", "l3-host-routes")
    few = drawn(make("few", designs=designs, rounds=3, rtt=spread_rtt(designs, 3_000)))
    many = drawn(make("many", designs=designs, rounds=4, rtt=spread_rtt(designs, 3_000)))
    column = {text.get_text() for text in texts(few["latency-percentiles"])}
    assert "p99" in column and "p99.9" not in column
    assert "p99.9" in {text.get_text() for text in texts(many["latency-percentiles"])}


def test_every_design_has_a_look_of_its_own(make: Make) -> None:
    look = looks(read_run(read_results(make(designs=MANY, throughput=gbit))))
    assert len({how.colour for how in look.values()}) == len(MANY)
    assert len({how.marker for how in look.values()}) == len(MANY)


def test_a_dollar_in_a_name_is_no_formula(make: Make) -> None:
    plots = drawn(make(designs=["$x", "l2$"], baseline="$x", throughput=gbit))
    assert all(not text.get_parse_math() for text in texts(plots["throughput"]))
