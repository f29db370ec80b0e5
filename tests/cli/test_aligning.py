"""Tables in parts."""

from testbed.cli.aligning import Aligned

FIRST = "NAME    READY   STATUS\nweb-1   1/1     Running"
LATER = "NAME                 READY   STATUS\nweb-757bd86bf8-abc           Terminating\n"
LATER += "web-1                1/1     Running"


def test_heads_are_printed_once() -> None:
    aligned = Aligned()
    assert aligned.text(FIRST) == FIRST
    assert aligned.text(FIRST) == "web-1   1/1     Running"


def test_columns_never_get_narrower() -> None:
    aligned = Aligned()
    aligned.text(FIRST)
    later = aligned.text(LATER).splitlines()
    assert later == ["web-757bd86bf8-abc           Terminating", "web-1                1/1     Running"]
    assert aligned.text(FIRST) == later[1]


def test_several_tables_are_separate() -> None:
    aligned = Aligned()
    nodes = "NAME   STATUS\nn1     Ready"
    assert aligned.text(f"{FIRST}\n\n{nodes}") == f"{FIRST}\n\n{nodes}"
    assert aligned.text(nodes) == "n1     Ready"


def test_a_table_without_heads() -> None:
    assert Aligned().text(FIRST, with_heads=False) == "web-1   1/1     Running"
