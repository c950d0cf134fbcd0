"""Does the Kubernetes API take deploy/kubernetes? By the schemas of several of its versions.

Rule: strictly, since a key that the API does not know would be dropped without a word. It is run in
an environment of its own, which holds kubernetes-validate: the schemas are 100 MB, and nothing else
needs them. What the objects say is tested in tests/test_deploy.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import kubernetes_validate
import yaml

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.34", kubernetes_validate.latest_version())
"""Of the API: one that is still around, one in wide use, the newest that is known."""


def main() -> int:
    faults = 0
    objects = [
        (path.name, found)
        for path in sorted(FOLDER.glob("*.yaml"))
        for found in yaml.safe_load_all(path.read_text())
    ]
    for version in VERSIONS:
        for name, found in objects:
            if fault := fault_of(found, version):
                print(f"{name}, {found['kind']}, API {version}: {fault}")
                faults += 1
    # And would it be noticed?
    service = next(found for _, found in objects if found["kind"] == "Service")
    service["spec"]["externalTrafikPolicy"] = "Local"
    if not fault_of(service, VERSIONS[-1]):
        print("a misspelt key is not noticed")
        faults += 1
    print(f"{len(objects)} objects, API {', '.join(VERSIONS)}: {faults or 'no'} faults")
    return 1 if faults or not objects else 0


def fault_of(found: dict[str, object], version: str) -> str | None:
    try:
        kubernetes_validate.validate(found, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return None


if __name__ == "__main__":
    sys.exit(main())
