"""Several labs of an experiment at the same time."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.experiment.labs import prepare
from testbed.experiment.schedule import Site
from testbed.spec.load import load_topology


@pytest.mark.sealed
@pytest.mark.exclusive
def test_labs_of_many_nodes_do_not_exhaust_the_neighbour_limit(repository: Path, tmp_path: Path) -> None:
    """All namespaces of a machine share one limit of 1,024 learned neighbours; the checks of one lab could fill it."""
    grid = (repository / "topologies/grid.yaml").read_text()
    file = tmp_path / "grid.yaml"
    file.write_text(grid.replace("nodes: 2", "nodes: 16"))
    site = Site(load_topology(file).value, offload=True, steering="", choices=("vxlan",), cells=())
    with ExitStack() as labs:
        for _ in range(3):
            prepared = prepare(site, "vxlan", labs)
            assert prepared.lab is not None, prepared.news
