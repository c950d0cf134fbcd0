from __future__ import annotations

from pathlib import Path

import pytest

from mitmthrottle.store import Address
from mitmthrottle.store.address import PASSWORD, PASSWORD_FILE
from mitmthrottle.store.names import Names


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("valkey://store", Address(host="store")),
        ("redis://store:7000/3", Address(host="store", port=7000, database=3)),
        (
            "valkeys://user@[2001:db8::1]:1",
            Address(host="2001:db8::1", port=1, tls=True, username="user"),
        ),
        ("rediss://store", Address(host="store", tls=True)),
        ("unix:///run/valkey.sock", Address(path="/run/valkey.sock")),
        ("unix:///run/valkey.sock?db=2", Address(path="/run/valkey.sock", database=2)),
    ],
)  # fmt: skip
def test_what_an_address_means(url: str, expected: Address) -> None:
    assert Address.parse(url, {}) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("store:6379", "write valkey://HOST:6379"),
        ("http://store", "write valkey://HOST:6379"),
        ("valkey://", "write valkey://HOST:6379"),
        ("valkey://store:port", "write valkey://HOST:6379"),
        ("valkey://store/zero", "write /0"),
        ("valkey://store/-1", "write /0"),
        ("unix://run/valkey.sock", "unix:///run/valkey.sock"),
        ("valkey://store?ca=x", "`ca` is not known here"),
        ("valkeys://store?ca=/nowhere/ca.pem", "there is no such file"),
        ("valkey://user:secret@store", PASSWORD),
        ("valkey://user:secret@store:port", "write valkey://HOST:6379"),
    ],
)
def test_what_is_no_address(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        Address.parse(url, {})
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_the_password_is_read_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    for environ, password in (
        ({PASSWORD: "from here"}, "from here"),
        ({PASSWORD: "from here", PASSWORD_FILE: str(file)}, "from a file"),
    ):
        address = Address.parse("valkey://store", environ)
        assert address.password == password
        assert password not in f"{address} {address!r}"
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        Address.parse("valkey://store", {PASSWORD_FILE: str(tmp_path / "none")})


def test_names_are_the_same_everywhere_and_tell_nothing() -> None:
    key = ("rule", 0, "client", "198.18.0.7")
    name = Names("seed").of("budget", key)
    assert name == Names("seed").of("budget", key)
    assert name != Names("other").of("budget", key)
    assert name != Names("seed").of("quota", key)
    assert name.startswith(Names("seed").fleet + ":")
    assert "198" not in name
