"""Single objects of a plan, in the words in which `ip` is told of them."""

from collections.abc import Callable, Iterator

from testbed.plan.objects import Esp, SegmentSource

_WINDOW_WITHOUT_ESN = 64


def esp_key_bytes(item: Esp) -> int:
    """The length of its keys, with RFC 4106's salt."""
    return item.key_bits // 8 + 4


def esp_words(item: Esp, key: Callable[[int], str]) -> Iterator[str]:
    """What `ip` is told of IPsec between two addresses; `key` gives the key of an SPI, as a hexadecimal number."""
    ways = (("out", item.local, item.remote, item.spi_out), ("in", item.remote, item.local, item.spi_in))
    window = f"replay-window {item.window}{' flag esn' if item.window > _WINDOW_WITHOUT_ESN else ''}"
    for _, source, target, spi in ways:
        yield (
            f"xfrm state add src {source} dst {target} proto esp spi 0x{spi:x} reqid {spi} mode transport "
            f"{window} aead 'rfc4106(gcm(aes))' {key(spi)} 128"
        )
    for way, source, target, spi in ways[:1] if item.mark else ways:
        which = f"dir {way} mark 0x{item.mark:x} mask 0x{item.mark:x}" if item.mark else f"dport {item.port} dir {way}"
        yield (
            f"xfrm policy add src {source} dst {target} proto udp {which} "
            f"tmpl src {source} dst {target} proto esp reqid {spi} mode transport"
        )


def no_esp_words(item: Esp) -> Iterator[str]:
    """What `ip` is told so that there is no IPsec between two addresses any more."""
    ways = (("out", item.local, item.remote, item.spi_out), ("in", item.remote, item.local, item.spi_in))
    for way, source, target, _ in ways[:1] if item.mark else ways:
        which = f"dir {way} mark 0x{item.mark:x} mask 0x{item.mark:x}" if item.mark else f"dport {item.port} dir {way}"
        yield f"xfrm policy delete src {source} dst {target} proto udp {which}"
    for _, source, target, spi in ways:
        yield f"xfrm state delete src {source} dst {target} proto esp spi 0x{spi:x}"


def segment_source_words(source: SegmentSource) -> str:
    """What `ip` is told of the source of headers that segment routing adds."""
    return f"sr tunsrc set {source.address}"
