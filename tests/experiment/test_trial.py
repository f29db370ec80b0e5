"""CPU time as the cost of a path: counted where the lab's programs took it, absent where other programs did."""

import subprocess
import sys

import pytest

from testbed.experiment.trial import _costs
from testbed.kernel.cpu import CpuTimes, cpu_times
from testbed.probes.probe import Measurement


def test_cpu_time_of_other_programs_is_no_cost_of_a_path() -> None:
    slow, fast = Measurement((), carried_gbit=0.003), Measurement((), carried_gbit=30, requests=1000)
    busy_elsewhere = CpuTimes(busy=6.05, idle=0, steal=0, programs=0.07)
    assert list(_costs(slow, busy_elsewhere)) == list(_costs(fast, busy_elsewhere)) == []
    own = CpuTimes(busy=6, idle=0, steal=0, programs=3)
    assert {value.metric: value.value for value in _costs(fast, own)} == {"cpu_per_gbit": 0.2, "cpu_per_request": 6000}
    assert list(_costs(fast, None)) == []


@pytest.mark.sealed
def test_the_cpu_time_of_programs_is_that_of_the_capsule_ended_ones_included() -> None:
    before = cpu_times()
    loop = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", loop], check=True)
    spent = cpu_times() - before
    assert 0.45 <= spent.programs < 0.8
    assert spent.busy >= spent.programs - 0.1
