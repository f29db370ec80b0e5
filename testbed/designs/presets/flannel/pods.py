"""Flannel's attachment of pods: the CNI plugins `flannel` and `portmap`, with Flannel's own configuration."""

from pathlib import Path

from testbed import cni
from testbed.designs.attachments.cni import attachment_of
from testbed.spec.design import PLUGINS, ReadCni

CONFLIST = """{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"""
OWN_PLUGINS = str(Path(cni.__file__).parent / "plugins")
"""The folder of the plugin `flannel`, which is not in Debian."""

ATTACHMENT = attachment_of(
    ReadCni(
        cni="10-flannel.conflist",
        bin=(OWN_PLUGINS, PLUGINS),
        name="cbr0",
        texts=(("10-flannel.conflist", CONFLIST),),
    )
)


def with_plugin(spec: ReadCni) -> ReadCni:
    """A user's design with the folder of the plugin `flannel` after the user's own folders."""
    return spec if OWN_PLUGINS in spec.bin else spec.model_copy(update={"bin": (*spec.bin, OWN_PLUGINS)})
