from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.report.condition import ANY, OPERATORS, Condition, ConditionError, Words, metric_names, parse

WORDS = Words(
    cells=("mtu=1500", "mtu=9000", "offload=on"),
    designs=("l2", "l3-host-routes", "vxlan"),
    paths=("same-node", "cross-node", "lab"),
    metrics=("throughput", "latency/rtt_p50", "web/rtt_p50", "loss@100Mbit", "build_time"),
    aliases=("rtt_p50", "loss"),
    without_verdict=("rtt_p90",),
)
TWO_MEANINGS = Words((), designs=("vxlan", "far"), paths=("vxlan", "near"), metrics=("throughput",))

conditions = st.builds(
    Condition,
    st.lists(st.sampled_from(WORDS.cells), unique=True).map(sorted).map(tuple),
    st.sampled_from((ANY, *WORDS.designs)),
    st.sampled_from((ANY, *WORDS.paths)),
    st.sampled_from((ANY, *WORDS.metrics, *WORDS.aliases)),
    st.sampled_from(tuple(OPERATORS)),
    st.decimals(Decimal("0.000000001"), Decimal(999_999), places=9),
)
near_misses = st.lists(
    st.sampled_from([*WORDS.cells, *WORDS.designs, *WORDS.paths, *WORDS.metrics, ANY, *OPERATORS, "0.9", "90%", "1e3"]),
    max_size=8,
).map(" ".join)


def error_of(text: str, words: Words = WORDS) -> str:
    with pytest.raises(ConditionError) as error:
        parse(text, words)
    return str(error.value)


@given(conditions)
def test_a_printed_condition_parses_to_itself(condition: Condition) -> None:
    assert parse(str(condition), WORDS) == condition


@given(st.text() | near_misses)
def test_every_text_parses_or_gets_a_message(text: str) -> None:
    try:
        condition = parse(text, WORDS)
    except ConditionError as error:
        assert str(error)
    else:
        assert parse(str(condition), WORDS) == condition


@given(conditions, st.randoms())
def test_words_may_be_in_any_order_and_any_may_be_omitted(condition: Condition, random: Random) -> None:
    named = [*condition.cell, condition.design, condition.path, condition.metric]
    named = [word for word in named if word != ANY]
    random.shuffle(named)
    assert parse(f"{' '.join(named)}{condition.operator}{condition.threshold:f}", WORDS) == condition


def test_typical_conditions() -> None:
    assert parse("cross-node throughput < 0.9", WORDS) == Condition(
        (), ANY, "cross-node", "throughput", "<", Decimal("0.9")
    )
    assert parse("mtu=9000 vxlan any rtt_p50 >= 110%", WORDS) == Condition(
        ("mtu=9000",), "vxlan", ANY, "rtt_p50", ">=", Decimal("1.1")
    )


@pytest.mark.parametrize(
    ("text", "ratio", "beyond"), [("< 0.9", 0.9, False), ("<= 90%", 0.9, True), ("> 1", 1.1, True)]
)
def test_the_threshold_itself_is_a_breach_only_with_an_equals_sign(text: str, ratio: float, beyond: bool) -> None:
    assert parse(text, WORDS).covers(ratio) is beyond


def test_a_condition_selects_by_all_its_words() -> None:
    condition = parse("mtu=9000 vxlan latency/rtt_p50 > 1.1", WORDS)
    names = metric_names("latency/rtt_p50", "latency")
    assert condition.selects("mtu=9000 offload=on", "vxlan", "cross-node", names)
    assert not condition.selects("mtu=1500 offload=on", "vxlan", "cross-node", names)
    assert not condition.selects("mtu=9000", "l2", "cross-node", names)
    assert not condition.selects("mtu=9000", "vxlan", "cross-node", metric_names("web/rtt_p50", "web"))


def test_a_metric_has_short_names() -> None:
    assert set(metric_names("loss@1Gbit", "flood")) == {"loss@1Gbit", "loss", "flood/loss@1Gbit", "flood/loss"}
    assert "rtt_p50" in metric_names("latency/rtt_p50", "latency")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross-node throughput", "operator missing, one of < <= > >=; example: 'cross-node throughput < 0.9'"),
        ("cross-node throughput < ", "ratio missing after the operator"),
        ("cross-node throughput < fast", "'fast' is not a ratio"),
        ("cross-node throughput < -1", "'-1' is not a ratio"),
        ("cross-node throughput < 0%", "the ratio must not be 0"),
        ("cross-node throughput < 1 < 2", "'1 < 2' is not a ratio"),
        ("cros-node throughput < 1", "unknown design, path or metric 'cros-node'; did you mean 'cross-node'?"),
        ("mtu=900 throughput < 1", "unknown sweep setting 'mtu=900'; valid: mtu=1500, mtu=9000"),
        ("rtt_p90 > 1.1", "'rtt_p90' is informational"),
        ("l2 vxlan throughput < 1", "more than one design, path or metric: l2 vxlan throughput"),
        ("any any any any < 1", "more than one design, path or metric"),
    ],
)
def test_the_message_names_the_mistake(text: str, message: str) -> None:
    assert message in error_of(text)


def test_an_unknown_word_lists_all_valid_words() -> None:
    message = error_of("fast < 1")
    assert all(name in message for name in (*WORDS.designs, *WORDS.paths, *WORDS.metrics, *WORDS.cells))


def test_an_ambiguous_name_is_refused_unless_its_position_decides() -> None:
    assert "write 'any vxlan throughput' or 'vxlan any throughput'" in error_of("vxlan throughput < 1", TWO_MEANINGS)
    assert parse("any vxlan throughput < 1", TWO_MEANINGS).path == "vxlan"
    assert parse("vxlan any throughput < 1", TWO_MEANINGS).design == "vxlan"
    assert parse("far vxlan < 1", TWO_MEANINGS) == Condition((), "far", "vxlan", ANY, "<", Decimal(1))
