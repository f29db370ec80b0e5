"""`python -m testbed`, the same program as `testbed`."""

from testbed.cli import main

main()
