"""Rules that drop or translate, read from listings of iptables and nftables."""

from testbed.observe.rules import Rule, _listed, _saved, risen

SAVED = """\
*filter
:INPUT DROP [3:252]
:FORWARD ACCEPT [7:588]
:KUBE-X - [0:0]
[2:168] -A INPUT -s 10.244.1.2/32 -j DROP
[9:756] -A INPUT -m comment --comment "not -j DROP" -j KUBE-X
[0:0] -A KUBE-X -p tcp -m comment --comment "a b" -j REJECT --reject-with tcp-reset
[5:420] -A KUBE-X -j MARK --set-xmark 0x1/0xffffffff
COMMIT
*nat
[1:84] -A POSTROUTING -o eth0 -j MASQUERADE --random-fully
COMMIT
"""

LISTED = """\
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
         counter packets 4 bytes 336 masquerade
    }
}
table inet shop {
    set drop {
        type ipv4_addr
        elements = { 10.0.0.1,
                 10.0.0.2 }
    }

    chain filter_input {
        type filter hook input priority filter; policy drop;
        ip saddr @allowed accept comment "drop nothing"
        ip saddr 10.9.9.9 counter packets 6 bytes 504 drop comment "why not"
        ip daddr vmap { 10.9.9.1 : drop, 10.9.9.2 : accept }
        tcp dport { 80, 443 } reject with tcp reset
        iifname "reject" accept
    }

    chain empty {
    }
}
""".replace("    ", "\t")


def test_rules_and_policies_of_iptables_have_counters() -> None:
    planned = frozenset({"-t nat -A POSTROUTING -o eth0 -j MASQUERADE --random-fully"})
    assert list(_saved("iptables", SAVED, planned)) == [
        Rule("iptables: `-t filter -P INPUT DROP`", "dropped", 3, False),
        Rule("iptables: `-t filter -A INPUT -s 10.244.1.2/32 -j DROP`", "dropped", 2, False),
        Rule(
            'iptables: `-t filter -A KUBE-X -p tcp -m comment --comment "a b" -j REJECT --reject-with tcp-reset`',
            *("rejected", 0, False),
        ),
        Rule("iptables: `-t nat -A POSTROUTING -o eth0 -j MASQUERADE --random-fully`", "translated", 1, True),
    ]


def test_rules_of_nftables_are_told_from_sets_names_and_comments() -> None:
    found = {rule.text: rule for rule in _listed(LISTED, {"ip nat"}, set())}
    place = "nftables: `inet shop filter_input"
    assert found == {
        text: Rule(text, effect, packets, False)  # type: ignore[arg-type]
        for text, effect, packets in (
            (f"{place} policy drop`", "dropped", None),
            (f'{place} ip saddr 10.9.9.9 drop comment "why not"`', "dropped", 6),
            (f"{place} ip daddr vmap {{ 10.9.9.1 : drop, 10.9.9.2 : accept }}`", "dropped", None),
            (f"{place} tcp dport {{ 80, 443 }} reject with tcp reset`", "rejected", None),
        )
    }


def test_only_rules_that_counted_in_between_have_risen() -> None:
    old, new = Rule("a", "dropped", 3, False), Rule("a", "dropped", 4, False)
    without, fresh = Rule("b", "dropped", None, False), Rule("c", "dropped", 1, False)
    before, after = {"a": old, "b": without}, {"a": new, "b": without, "c": fresh}
    assert list(risen(before, after)) == [new, fresh]
    assert list(risen(after, after)) == []
