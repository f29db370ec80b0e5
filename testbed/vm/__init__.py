"""A virtual machine: another kernel, booted under QEMU's software emulation on the files of this machine."""
