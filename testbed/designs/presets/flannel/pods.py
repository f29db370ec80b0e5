"""Flannel's attachment of pods: the CNI plugins `flannel` and `portmap`, with Flannel's own configuration."""

from testbed.cni.standard import FOLDERS, OWN_FOLDER
from testbed.designs.attachments.cni import attachment_of
from testbed.spec.design import ReadCni

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

ATTACHMENT = attachment_of(
    ReadCni(
        cni="10-flannel.conflist",
        bin=FOLDERS,
        name="cbr0",
        texts=(("10-flannel.conflist", CONFLIST),),
    )
)


def with_plugin(spec: ReadCni) -> ReadCni:
    """A user's design with the folder of the plugin `flannel` after the user's own folders."""
    return spec if OWN_FOLDER in spec.bin else spec.model_copy(update={"bin": (*spec.bin, OWN_FOLDER)})
