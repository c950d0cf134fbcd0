"""The embedded origin, asked directly by an independent client, over both protocols."""

import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from h2 import connection as h2_connection
from h2.events import DataReceived

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.origin import Origin, running_origin
from mitmthrottle.lab.site import media

HOSTS = ("site.example", "img.example", "*.cdn.example")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with running_origin(HOSTS) as running:
        yield running


@pytest.fixture(params=["HTTP/2", "HTTP/1.1"])
def get(origin: Origin, request: pytest.FixtureRequest) -> Iterator[Callable[..., httpx.Response]]:
    """GET a path of img.example; the answer must have come over the protocol of this case."""
    trust = ssl.create_default_context(cafile=origin.ca_path)
    with httpx.Client(verify=trust, http2=request.param == "HTTP/2") as session:

        def ask(path: str, method: str = "GET", **headers: str) -> httpx.Response:
            response = session.request(
                method,
                f"https://127.0.0.1:{origin.port}{path}",
                headers={
                    "Host": "img.example",
                    **{k.replace("_", "-"): v for k, v in headers.items()},
                },
                extensions={"sni_hostname": "img.example"},
            )
            assert response.http_version == request.param
            return response

        yield ask


Get = Callable[..., httpx.Response]


@pytest.mark.parametrize(
    ("path", "name", "content_type"),
    [
        ("/photo-small.jpg", "photo-small.jpg", "image/jpeg"),
        ("/photo.jpg?n=1", "photo.jpg", "image/jpeg"),
        ("/photo-large.jpg", "photo-large.jpg", "image/jpeg"),
        ("/video.mp4", "video.mp4", "video/mp4"),
    ],
)
def test_media_arrive_whole(get: Get, path: str, name: str, content_type: str) -> None:
    response = get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.headers["content-length"] == str(len(media(name)))
    assert response.content == media(name)


def test_media_are_what_they_say() -> None:
    for name in ("photo-small.jpg", "photo.jpg", "photo-large.jpg"):
        assert media(name).startswith(b"\xff\xd8\xff")
        assert media(name).endswith(b"\xff\xd9")
    video = media("video.mp4")
    assert video[4:8] == b"ftyp"
    # The index comes before the data, so the video plays while it is still arriving.
    assert 0 < video.index(b"moov") < video.index(b"mdat")


def test_range(get: Get) -> None:
    response = get("/video.mp4", range="bytes=1000-1999")
    whole = media("video.mp4")
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes 1000-1999/{len(whole)}"
    assert response.content == whole[1000:2000]


def test_range_beyond_the_end(get: Get) -> None:
    response = get("/video.mp4", range="bytes=9999999-")
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(media('video.mp4'))}"


def test_range_of_another_version_is_ignored(get: Get) -> None:
    response = get("/video.mp4", range="bytes=0-9", if_range='"older"')
    assert (response.status_code, len(response.content)) == (200, len(media("video.mp4")))


def test_not_modified(get: Get) -> None:
    tag = get("/photo.jpg").headers["etag"]
    response = get("/photo.jpg", if_none_match=tag)
    assert (response.status_code, response.content) == (304, b"")


def test_head(get: Get) -> None:
    response = get("/photo.jpg", method="HEAD")
    assert response.headers["content-length"] == str(len(media("photo.jpg")))
    assert response.content == b""


def test_bytes_of_a_type(get: Get) -> None:
    response = get("/bytes/200001?type=image/avif")
    assert response.headers["content-type"] == "image/avif"
    assert response.content == noise(0, 200_001)


def test_bytes_of_unknown_length(get: Get) -> None:
    response = get("/bytes/70000?length=no")
    assert "content-length" not in response.headers
    assert response.content == noise(0, 70_000)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/status/503", 503), ("/bytes/-1", 404), ("/bytes/99999999999", 404)],
)
def test_other_statuses(get: Get, path: str, status: int) -> None:
    assert get(path).status_code == status


def test_methods_that_are_not_served(get: Get) -> None:
    assert get("/photo.jpg", method="POST").status_code == 405


def test_page_takes_its_media_from_all_hosts(origin: Origin, get: Get) -> None:
    page = get("/index.html").text
    for host in ("site.example", "img.example"):
        assert f'src="https://{host}/photo' in page
    assert "<video " in page


def test_timeline(get: Get) -> None:
    posts = json.loads(get("/api/timeline.json").content)["posts"]
    assert len(posts) == 160
    assert posts[1]["photo"] == "https://img.example/photo.jpg?post=1"


def test_plain_http(origin: Origin) -> None:
    response = httpx.get(
        f"http://127.0.0.1:{origin.plain_port}/photo.jpg", headers={"Host": "img.example"}
    )
    assert response.content == media("photo.jpg")


def test_remembers_what_it_was_asked(origin: Origin, get: Get) -> None:
    version = get("/bytes/1?mark=7").http_version.removeprefix("HTTP/")
    seen = origin.requests[-1]
    assert (seen.host, seen.method, seen.path) == ("img.example", "GET", "/bytes/1?mark=7")
    assert seen.http_version == version


def test_stops_at_once_with_a_response_under_way() -> None:
    threads = threading.active_count()
    with running_origin(["site.example"], h2=False) as origin:
        reader = socket.create_connection(("127.0.0.1", origin.plain_port))
        reader.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: site.example\r\n\r\n")
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
        leaving = time.monotonic()
    took = time.monotonic() - leaving
    reader.close()
    assert took < 4
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", origin.plain_port))


def test_stops_quietly_with_a_stream_whose_window_is_used_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a paced stream's is: its origin may not hold the end of a test up, nor litter it."""
    caplog.set_level(logging.WARNING)
    h2 = h2_connection.H2Connection()
    h2.initiate_connection()
    request = {":method": "GET", ":scheme": "https", ":authority": "site.example"}
    request[":path"] = "/photo-large.jpg"
    with running_origin(["site.example"]) as origin:
        trust = ssl.create_default_context(cafile=origin.ca_path)
        trust.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", origin.port))
        secure = trust.wrap_socket(raw, server_hostname="site.example")
        h2.send_headers(1, list(request.items()), end_stream=True)
        secure.sendall(h2.data_to_send())
        arrived = 0
        while arrived < 65_535:  # never acknowledged, so no more will come
            for event in h2.receive_data(secure.recv(65_536)):
                arrived += len(event.data or b"") if isinstance(event, DataReceived) else 0
        leaving = time.monotonic()
    took = time.monotonic() - leaving
    secure.close()
    assert took < 4
    assert [record.getMessage() for record in caplog.records] == []


def test_is_quiet_when_clients_leave(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with running_origin(["site.example"]) as origin:
        for port in (origin.port, origin.plain_port):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /bytes/9000000 HTTP/1.1\r\nHost: site.example\r\n\r\n")
                client.recv(10)
        time.sleep(0.3)
    assert [record.getMessage() for record in caplog.records] == []


def test_needs_a_host() -> None:
    with pytest.raises(ValueError, match="at least one host name"), running_origin([]):
        pass
