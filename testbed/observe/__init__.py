"""Looking at a living lab, changing nothing but what the kernel learns from packets.

Who reaches whom, and what is seen on the fabric.
"""
