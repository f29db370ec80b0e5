"""How Flannel's pods hang on their node: by the CNI plugins `flannel` and `portmap`, in Flannel's own configuration."""

from testbed.designs.attachments import ATTACHMENTS

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
ATTACHMENT = ATTACHMENTS["bridge"]
