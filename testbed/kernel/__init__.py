"""The only package that talks to the kernel: namespaces, batched netlink, sysctls, feature detection."""
