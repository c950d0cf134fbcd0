"""curl as anybody would use it: the photo is slow, the page is not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.lab.site import media

from .figures import Figures
from .nginx import Nginx

pytestmark = pytest.mark.e2e

RATE = 16_000
POLICY = """
version: 1
name: curl
rules:
  - name: photos
    when: {host: photos.example.org, content: photo}
    then: {rate: 128 kbit/s}
"""


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running


def curl(proxy: RunningProxy, url: str, version: str, body: Path) -> dict[str, float]:
    binary = shutil.which("curl")
    if binary is None:
        raise FileNotFoundError("curl is not installed")
    told = ("http_version", "response_code", "size_download", "time_starttransfer", "time_total")
    done = subprocess.run(
        [
            *(binary, "--silent", "--show-error", f"--{version}"),
            *("--proxy", proxy.url, "--cacert", str(proxy.ca_path)),
            *("--write-out", " ".join(f"%{{{name}}}" for name in told)),
            *("--output", str(body), url),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(told, map(float, done.stdout.split()), strict=True))


@pytest.mark.parametrize(("version", "number"), [("http1.1", 1.1), ("http2", 2)])
@pytest.mark.parametrize("host", ["photos.example.org", "other.example.org"])
def test_curl(
    host: str, version: str, number: float, proxy: RunningProxy, tmp_path: Path, figures: Figures
) -> None:
    photo = curl(proxy, f"https://{host}/photo.jpg", version, tmp_path / "photo")
    page = curl(proxy, f"https://{host}/page.html", version, tmp_path / "page")
    size = len(media("photo.jpg"))
    for name, told in (("photo of 58 kB", photo), ("page of 20 kB", page)):
        figures.add(f"curl --{version}, {host}: {name} in", told["time_total"], "s")
    assert photo["http_version"] == page["http_version"] == number
    assert photo["response_code"] == page["response_code"] == 200
    assert (tmp_path / "photo").read_bytes() == media("photo.jpg")
    assert page["time_total"] < 1.0
    if host == "other.example.org":
        assert photo["time_total"] < 1.0
    else:
        assert photo["time_starttransfer"] < 1.0
        expected = (size - 0.025 * RATE) / RATE  # the first 25 ms of the rate come at once
        assert photo["time_total"] - photo["time_starttransfer"] == pytest.approx(
            expected, rel=0.05
        )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl_with_a_range_goes_on_where_it_was(
    scheme: str, proxy: RunningProxy, tmp_path: Path
) -> None:
    """`--continue-at`, as after a broken download."""
    part = tmp_path / "photo"
    part.write_bytes(media("photo.jpg")[:40_000])
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--continue-at", "-", "--output", str(part)),
            *("--proxy", proxy.url, "--cacert", str(proxy.ca_path)),
            f"{scheme}://photos.example.org/photo.jpg",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert part.read_bytes() == media("photo.jpg")
