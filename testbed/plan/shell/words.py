"""Arguments of `ip` for single objects of a plan."""

from collections.abc import Callable, Iterator

from testbed.plan.objects import Esp, SegmentSource

_WINDOW_WITHOUT_ESN = 64


def esp_key_bytes(item: Esp) -> int:
    """Length of its keys in bytes, including the salt of RFC 4106."""
    return item.key_bits // 8 + 4


def esp_words(item: Esp, key: Callable[[int], str]) -> Iterator[str]:
    """Arguments of `ip` that add IPsec between two addresses; `key` returns the key of an SPI, in hexadecimal."""
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
    """Arguments of `ip` that remove IPsec between two addresses."""
    ways = (("out", item.local, item.remote, item.spi_out), ("in", item.remote, item.local, item.spi_in))
    for way, source, target, _ in ways[:1] if item.mark else ways:
        which = f"dir {way} mark 0x{item.mark:x} mask 0x{item.mark:x}" if item.mark else f"dport {item.port} dir {way}"
        yield f"xfrm policy delete src {source} dst {target} proto udp {which}"
    for _, source, target, spi in ways:
        yield f"xfrm state delete src {source} dst {target} proto esp spi 0x{spi:x}"


def segment_source_words(source: SegmentSource) -> str:
    """Arguments of `ip` that set the source address of outer headers of segment routing."""
    return f"sr tunsrc set {source.address}"
