"""Run the stand-in: `python -m testbed.programs.standin DESCRIPTOR`, a SOCK_SEQPACKET socket to the parent."""

import asyncio
import sys

from testbed.programs.standin.control import serve_parent

asyncio.run(serve_parent(int(sys.argv[1])))
