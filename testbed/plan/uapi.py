"""Numbers of the kernel's netlink interface, as linux/netlink.h, linux/rtnetlink.h and their like name them.

pyroute2 has them too, but takes 14 MiB and a tenth of a second to load, which every lab would pay for. It is loaded
where the kernel's answers are decoded (`testbed.kernel.state`). The tests hold these numbers against its own.
"""

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

IFF_UP, IFF_NOARP, IFF_PROMISC = 0x1, 0x80, 0x100
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x2, 0x200
NTF_SELF = 0x2
NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x1, 0x20, 0x40, 0x80
RTNH_F_ONLINK = 0x4
TC_H_ROOT, TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
TC_H_MIN_INGRESS, TC_H_MIN_EGRESS = 0xFFF2, 0xFFF3
