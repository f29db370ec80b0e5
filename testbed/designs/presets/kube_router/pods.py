"""kube-router's attachment of pods: the CNI plugin `bridge`."""

from testbed.designs.attachments.cni import attachment_of
from testbed.spec.design import ReadCni

CONFLIST = """{
  "cniVersion": "0.3.0",
  "name": "mynet",
  "plugins": [
    {
      "name": "kubernetes",
      "type": "bridge",
      "bridge": "kube-bridge",
      "mtu": {{ mtu }},
      "isDefaultGateway": true,
      "ipam": {
        "type": "host-local",
        "ranges": [
          {%- for cidr in node.pod_cidrs %}
          [{"subnet": "{{ cidr }}"}]{{ "" if loop.last else "," }}
          {%- endfor %}
        ]
      }
    }
  ]
}
"""
"""kube-router's configuration, with the values that it adds on each node: the pods' ranges and the MTU."""

ATTACHMENT = attachment_of(
    ReadCni(cni="10-kuberouter.conflist", name="mynet", texts=(("10-kuberouter.conflist", CONFLIST),))
)
