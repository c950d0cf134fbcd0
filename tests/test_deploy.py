"""deploy/: objects whose names agree, with no more rights than they need, and a unit that starts
what exists. Whether the API takes the objects: .ci/kubernetes_objects.py.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mitmthrottle.fleet.arguments import take_workers
from mitmthrottle.policy import load_policy_with_warnings

ROOT = Path(__file__).parents[1]

DEPLOY = Path(__file__).parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "mitmthrottle.service"

OBJECTS: dict[str, Any] = {
    f"{found['kind']} {found['metadata']['name']}": found
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for found in YAML(typ="safe", pure=True).load_all(path.read_text())
}
PODS = [name for name in OBJECTS if name.startswith("Deployment ")]


def pod(name: str) -> Any:
    return OBJECTS[name]["spec"]["template"]["spec"]


def test_all_that_was_asked_for_is_there() -> None:
    assert set(OBJECTS) == {
        "ConfigMap mitmthrottle-policy",
        "Deployment mitmthrottle",
        "Deployment mitmthrottle-store",
        "NetworkPolicy mitmthrottle",
        "NetworkPolicy mitmthrottle-store",
        "PodDisruptionBudget mitmthrottle",
        "Service mitmthrottle",
        "Service mitmthrottle-store",
    }
    assert OBJECTS["Service mitmthrottle"]["spec"]["externalTrafficPolicy"] == "Local"


def test_selectors_find_their_pods() -> None:
    for name, found in OBJECTS.items():
        spec = found.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            target = OBJECTS[f"Deployment {found['metadata']['name']}"]
            labels = target["spec"]["template"]["metadata"]["labels"]
            assert wanted.items() <= labels.items(), name
    allowed = OBJECTS["NetworkPolicy mitmthrottle-store"]["spec"]["ingress"][0]["from"][0]
    labels = OBJECTS["Deployment mitmthrottle"]["spec"]["template"]["metadata"]["labels"]
    assert allowed["podSelector"]["matchLabels"] == labels


def test_ports_and_volumes_have_the_names_that_are_used() -> None:
    for name in PODS:
        (container,) = pod(name)["containers"]
        ports = {port["name"] for port in container["ports"]}
        service = OBJECTS[f"Service {OBJECTS[name]['metadata']['name']}"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod(name)["volumes"]}


@pytest.mark.parametrize("name", PODS)
def test_nothing_has_more_rights_than_it_needs(name: str) -> None:
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert pod(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod(name)["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_the_example_policies_are_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(OBJECTS["ConfigMap mitmthrottle-policy"]["data"]["policy.yaml"])
    for each in (path, DEPLOY.parent / "docker" / "fleet" / "policy.yaml"):
        _, warnings = load_policy_with_warnings(each, 0.0)
        assert warnings == ()


def test_the_store_asks_for_a_password_that_the_proxies_know() -> None:
    secret = {"name": "mitmthrottle-store", "key": "password"}
    for name, variable in (
        ("Deployment mitmthrottle", "MITMTHROTTLE_STORE_PASSWORD"),
        ("Deployment mitmthrottle-store", "REDISCLI_AUTH"),
    ):
        (container,) = pod(name)["containers"]
        (found,) = [each for each in container["env"] if each["name"] == variable]
        assert found["valueFrom"] == {"secretKeyRef": secret}
    (store,) = pod("Deployment mitmthrottle-store")["containers"]
    assert "requirepass" in store["args"][0]
    compose = YAML(typ="safe", pure=True).load((DEPLOY.parent / "docker-compose.yml").read_text())
    store, proxy = (compose["services"][name] for name in ("fleet-store", "fleet-proxy"))
    assert store["command"] == ["/etc/fleet/store.sh"]
    assert "requirepass" in (DEPLOY.parent / "docker" / "fleet" / "store.sh").read_text()
    assert proxy["environment"]["MITMTHROTTLE_STORE_PASSWORD_FILE"] == "/run/fleet/password"
    assert {each.split(":")[0] for each in store["volumes"]} <= {
        each.split(":")[0] for each in proxy["volumes"]
    }


def test_the_page_of_a_pod_is_not_for_everybody() -> None:
    open_to_all, page = OBJECTS["NetworkPolicy mitmthrottle"]["spec"]["ingress"]
    assert open_to_all == {"ports": [{"port": "proxy"}]}
    assert page["ports"] == [{"port": "page"}]
    assert page["from"]


def settings(path: Path = UNIT) -> dict[str, list[str]]:
    """A unit's lines by their names."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_what_exists() -> None:
    (start,) = settings()["ExecStart"]
    program, command, policy, *options = shlex.split(start.replace("${WORKERS}", "2"))
    assert program.endswith("/bin/mitmthrottle")
    assert (command, policy) == ("run", "/etc/mitmthrottle/policy.yaml")
    assert take_workers(options) == (2, ["--set", "confdir=/var/lib/mitmthrottle", "$OPTIONS"])
    assert settings()["StateDirectory"] == ["mitmthrottle"]
    # What stands in the line has a value without a file as well.
    environment = " ".join(settings()["Environment"])
    for name in re.findall(r"\$\{?([A-Z]+)", start):
        assert f"{name}=" in environment


def test_the_unit_is_started_when_the_proxy_says_so_and_ended_when_it_says_nothing() -> None:
    assert settings()["Type"] == ["notify"]
    assert int(settings()["WatchdogSec"][0]) >= 10


def test_the_routers_files_agree() -> None:
    """That they work is shown on a machine: tests/e2e/test_router.py."""
    folder = DEPLOY / "router"
    rules = (folder / "redirect.nft").read_text()
    found = settings(folder / "router.conf")
    (load,) = found["ExecStartPost"]
    assert load.split()[-1] == "/etc/mitmthrottle/redirect.nft"
    assert found["ExecStopPost"] == found["ExecStop"]
    assert "delete table inet mitmthrottle" in found["ExecStopPost"][0]
    assert "table inet mitmthrottle {" in rules
    (options,) = re.findall(r"^OPTIONS=(.*)$", (folder / "environment").read_text(), re.MULTILINE)
    assert "--listen-port 8080 " in options
    assert "throttle_listen=0.0.0.0:8089 " in options
    assert "redirect to :8080" in rules
    assert 'iifname != { "lo", $lan } tcp dport { 8080, 8089 } drop' in rules


def test_the_unit_is_confined() -> None:
    found = settings()
    assert found["CapabilityBoundingSet"] == [""]
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome"):
        assert found[name] == ["yes"], name
    assert found["ProtectSystem"] == ["strict"]


def test_what_the_wheel_takes_in_is_in_the_image_s_context() -> None:
    """A file that is missing there is told by the image's build only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    taken = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    copied = " ".join(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")
    ).split()
    for name in taken:
        assert f"!{name}" in allowed
        assert name in copied
