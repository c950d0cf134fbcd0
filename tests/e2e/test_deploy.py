"""What the cluster's objects ask of the proxy: probes, and a policy as a kubelet replaces it."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mitmthrottle.lab.proxy import running_proxy

from .process import wait_for

pytestmark = pytest.mark.e2e

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
POD_IP = "127.0.0.1"
PAGE_PORT = 18_181


def load(name: str) -> Any:
    """The deployment or map of that file; there are policies beside it."""
    found = YAML(typ="safe", pure=True).load_all((KUBERNETES / name).read_text())
    return next(each for each in found if each["kind"] in ("ConfigMap", "Deployment"))


def page_options(container: Any) -> list[str]:
    """The page's settings as the pod has them, on another port."""
    options = []
    for argument in container["args"]:
        if argument.startswith(("--set=throttle_listen=", "--set=throttle_page_")):
            text = argument.removeprefix("--set=").replace("$(POD_IP)", POD_IP)
            options += ["--set", text.replace(":8081", f":{PAGE_PORT}")]
    assert len(options) == 6
    return options


def status(host: str, path: str) -> int:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", PAGE_PORT, timeout=10)
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    except OSError:
        return 0


def soon(host: str, path: str) -> bool:
    return wait_for(lambda: status(host, path) == 200, 10.0) is not None


def test_probes_and_scrapes_are_answered() -> None:
    container = load("proxy.yaml")["spec"]["template"]["spec"]["containers"][0]
    with running_proxy("twitter-2021", options=page_options(container)) as proxy:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[name]["httpGet"]
            assert "httpHeaders" not in probe  # a probe asks for the pod's own address
            assert soon(f"{POD_IP}:{PAGE_PORT}", probe["path"]), proxy.log()
            assert soon("elsewhere.example", probe["path"]), proxy.log()
        assert status(f"{POD_IP}:{PAGE_PORT}", "/metrics") == 200
        assert status("elsewhere.example", "/metrics") == 421


def test_a_policy_that_a_kubelet_replaces(tmp_path: Path) -> None:
    """A mounted ConfigMap is a link to a link to a folder; the middle one is turned."""
    text = load("policy.yaml")["data"]["policy.yaml"]
    for version, content in (("..1", text), ("..2", text.replace("name: photos", "name: second"))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text(content)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    with running_proxy(tmp_path / "policy.yaml", options=["--set", "throttle_listen="]) as proxy:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert wait_for(lambda: "a new second took over" in proxy.log(), 10.0) is not None
