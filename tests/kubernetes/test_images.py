"""What runs in a container."""

from typing import Any

import pytest

from testbed.kubernetes.images import Command, StandIn, runs
from tests.kubernetes.clusters import cluster, only_pod, pod

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.45"
SH = {"command": ["sh", "-c", "sleep 5"]}


def what(image: str, host_images: bool = True, **container: Any) -> Command | StandIn:
    found = only_pod(cluster(pod("web", containers=[{"name": "web", "image": image, **container}])))
    return runs(found.spec.containers[0], host_images)


@pytest.mark.parametrize(
    "image",
    [
        "host",
        "busybox",
        "busybox:1.36",
        "docker.io/library/alpine:3.20",
        "mirror.lan:5000/library/busybox@sha256:00",
        "nicolaka/netshoot",
        "curlimages/curl:8.9.1",
        AGNHOST,
    ],
)
def test_a_tool_image_runs_its_command_only_if_that_is_allowed(image: str) -> None:
    assert what(image, **SH) == Command(("sh", "-c", "sleep 5"))
    assert what(image, host_images=False, **SH) == StandIn(("sh", "-c", "sleep 5"))


@pytest.mark.parametrize("image", ["nginx", "mycurl", "example.org/busybox-app", "example.org/host", "redis:alpine"])
def test_other_images_run_nothing_of_the_machine(image: str) -> None:
    assert isinstance(what(image, **SH), StandIn)


def test_options_go_to_the_images_own_program() -> None:
    assert what("curlimages/curl", args=["-s", "web"]) == Command(("curl", "-s", "web"))
    assert what("curlimages/curl", args=["sleep", "5"]) == Command(("sleep", "5"))
    assert what("busybox", args=["sleep", "5"]) == Command(("sleep", "5"))


def test_a_tool_image_without_command_runs_nothing() -> None:
    assert what("nicolaka/netshoot") == Command(())


def test_a_stand_in_serves_the_ports_of_a_tool_image_without_command() -> None:
    assert what("busybox", ports=[{"containerPort": 80}]) == StandIn()


@pytest.mark.parametrize(
    "container",
    [
        {},
        {"args": ["netexec", "--http-port=80"]},
        {"command": ["/agnhost", "serve-hostname"]},
        {"command": ["sh", "-c", "exec /agnhost netexec"]},
    ],
)
def test_the_stand_in_plays_agnhost_itself(container: dict[str, Any]) -> None:
    assert isinstance(what(AGNHOST, **container), StandIn)
