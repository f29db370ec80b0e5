"""Offloads of devices: segments larger than the MTU, and checksums left to the device.

By ioctl: running ethtool(8) for each device would take longer than building the lab. The kernel has one bit for each
feature and adds features over time, so they are looked up by name, as ethtool does. The older commands for single
offloads (ETHTOOL_STSO) leave newer kinds of segments on.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Self

PATTERNS = {
    "tso": "tx-tcp*-segmentation",
    "gso": "tx-generic-segmentation",
    "gro": "rx-gro",
    "checksum": "tx-checksum-*",
}
"""The features of each offload, by name in ethtool(8)."""
SEGMENTATION = ("tso", "gso", "gro")

_SIOCETHTOOL = 0x8946
_IFNAMSIZ = 16
_ETHTOOL_GSTRINGS, _ETHTOOL_GSSET_INFO, _ETHTOOL_GFEATURES, _ETHTOOL_SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
_ETH_SS_FEATURES = 4
_NAME_WORDS = 32 // 4
_BITS = 32
_READ_WORDS, _ACTIVE = 4, 2
"""A block of features as read: available, requested, active, never changed."""


def switch_offloads(devices: Iterable[str], *, on: bool) -> None:
    """Switch TSO, GSO and GRO on or off for these devices of the calling thread's namespace."""
    with _Ethtool() as ethtool:
        for dev in devices:
            ethtool.switch(dev, SEGMENTATION, on)


def switch_checksums(devices: Iterable[str], *, on: bool) -> None:
    """Switch transmit checksum offload on or off for these devices of the calling thread's namespace.

    Switching it off also switches off segmentation offload.
    """
    with _Ethtool() as ethtool:
        for dev in devices:
            ethtool.switch(dev, ("checksum",), on)


def offloads_of(devices: Iterable[str]) -> dict[str, dict[str, bool]]:
    """By device of the calling thread's namespace: whether `tso`, `gso`, `gro` and `checksum` are on."""
    with _Ethtool() as ethtool:
        return {dev: ethtool.active(dev) for dev in devices}


class _Ethtool:
    """Ethtool ioctls on the devices of the namespace in which it was made."""

    def __init__(self) -> None:
        # Any socket works: it only selects the namespace.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._masks: dict[str, list[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def switch(self, dev: str, offloads: Iterable[str], on: bool) -> None:
        chosen = [self._masks_by(dev)[name] for name in offloads]
        blocks = [sum(words) for words in zip(*chosen, strict=True)]
        # For each block of features: a mask of those to change, and their values.
        self._ask(
            dev, _ETHTOOL_SFEATURES, len(blocks), *(word for block in blocks for word in (block, block if on else 0))
        )

    def active(self, dev: str) -> dict[str, bool]:
        masks = self._masks_by(dev)
        blocks = len(next(iter(masks.values())))
        answer = self._ask(dev, _ETHTOOL_GFEATURES, blocks, *([0] * _READ_WORDS * blocks))[2:]
        active = answer[_ACTIVE::_READ_WORDS]
        return {name: any(a & m for a, m in zip(active, mask, strict=True)) for name, mask in masks.items()}

    def _masks_by(self, dev: str) -> dict[str, list[int]]:
        """The features of each offload as masks of blocks of 32; equal for all devices."""
        if not self._masks:
            names = self._names(dev)
            for offload, pattern in PATTERNS.items():
                blocks = [0] * -(-len(names) // _BITS)
                for number, name in enumerate(names):
                    blocks[number // _BITS] |= fnmatchcase(name, pattern) << number % _BITS
                self._masks[offload] = blocks
        return self._masks

    def _names(self, dev: str) -> list[str]:
        # Command, 4 reserved bytes, a 64-bit mask of the wanted sets, and their count in the answer.
        count = self._ask(dev, _ETHTOOL_GSSET_INFO, 0, 1 << _ETH_SS_FEATURES, 0, 0)[4]
        words = self._ask(dev, _ETHTOOL_GSTRINGS, _ETH_SS_FEATURES, count, *([0] * _NAME_WORDS * count))[3:]
        texts = (words[at : at + _NAME_WORDS].tobytes() for at in range(0, len(words), _NAME_WORDS))
        return [text.partition(b"\0")[0].decode() for text in texts]

    def _ask(self, dev: str, *words: int) -> "array.array[int]":
        """Run a command with arguments; the kernel overwrites them with its answer."""
        memory = array.array("I", words)
        fcntl.ioctl(self._socket, _SIOCETHTOOL, struct.pack(f"{_IFNAMSIZ}sP", dev.encode(), memory.buffer_info()[0]))
        return memory
