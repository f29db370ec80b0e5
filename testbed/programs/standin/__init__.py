"""The stand-in for images: one process that serves the ports of all containers of a lab that have no image to run.

The standard library suffices, and nothing else of the testbed is imported. The process starts without containers; its
parent sends them over a socket pair (`control`), each with the network namespace of its pod. The process opens the
sockets of a container in that namespace (`networks`), where they stay, and then closes the namespace's descriptor. So a
container costs its sockets and about 2 KiB, and no process.

TCP ports speak HTTP/1.1 (`http11`, `connection`) with the paths of agnhost's `netexec` (`netexec`, `dial`); UDP and
SCTP ports answer its short text commands (`words`). `agnhost` reads what a command line of that image asks for.
"""
