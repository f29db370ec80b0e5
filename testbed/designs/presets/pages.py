"""Pages of presets: the preset's own text followed by the departures that presets of its kind share."""

WITHOUT_IPV6 = """\
Unlike in a cluster of IPv4 only, where IPv6 is usually on in the kernel, a lab without IPv6 ranges sets `disable_ipv6`
in every namespace, as it is up sooner then: devices have no link-local addresses, and send no NDP and MLD packets.
"""
"""The departure of presets whose pods the testbed attaches itself; CNI plugins find IPv6 on."""


def whole(text: str | None, *unlike: str) -> str:
    """The text, followed by each of the others as a paragraph."""
    return "\n\n".join(part.strip() for part in (text or "", *unlike))
