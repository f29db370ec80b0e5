"""The classes of Mininet that a lab uses, imported without setuptools.

Mininet compares versions of Open vSwitch with `distutils`, which Python 3.12 no longer has. If setuptools is installed,
all of it is loaded instead, which takes longer than bringing up a lab of two nodes. Labs do not start Open vSwitch by
Mininet, so an empty `distutils` is provided while Mininet is imported.
"""

import sys
from types import ModuleType

_STAND_IN = ModuleType("distutils.version")
_STAND_IN.StrictVersion = object  # type: ignore[attr-defined]
_NAMES = {"distutils": ModuleType("distutils"), _STAND_IN.__name__: _STAND_IN}
_real = {name: sys.modules[name] for name in _NAMES if name in sys.modules}
sys.modules.update(_NAMES)
try:
    from mininet.link import Intf
    from mininet.node import Host, Node
finally:
    for _name in _NAMES:
        del sys.modules[_name]
    sys.modules.update(_real)

__all__ = ["Host", "Intf", "Node"]
