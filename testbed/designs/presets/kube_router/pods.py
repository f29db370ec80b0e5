"""How kube-router's pods hang on their node: by the CNI plugin `bridge` alone."""

from testbed.designs.attachments import ATTACHMENTS

ATTACHMENT = ATTACHMENTS["bridge"]
