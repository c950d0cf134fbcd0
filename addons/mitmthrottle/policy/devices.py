"""The class of device that sent a request: mobile, tablet, desktop or tv.

The one rule: Sec-CH-UA-Mobile is believed first (`?1` is mobile, `?0` is not), then the
User-Agent as ua-parser reads it. Programs and bots (curl, Googlebot) have no class. An iPad whose
Safari asks for desktop sites says that it is a Mac, and counts as one: nothing tells it apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

Device = Literal["mobile", "tablet", "desktop", "tv"]
DEVICES: tuple[Device, ...] = ("mobile", "tablet", "desktop", "tv")

# Words of television sets and sticks that ua-parser files under their maker's name.
_TV_WORDS = re.compile(
    r"smart-?tv|apple ?tv|google ?tv|android ?tv|\bcrkey\b|\broku\b|bravia|\baft[a-z]{1,5}\b|"
    r"web0s|webos\.tv|netcast|hbbtv|tizen.*\btv\b|\btv safari|vidaa|philipstv|\bbox\b.*\btv\b|"
    r"playstation|xbox|nintendo (?:wii|switch)",
    re.IGNORECASE,
)
_TABLET_WORDS = re.compile(r"\bipad\b|\btablet\b(?! pc)|\bkindle\b|\bsilk/|playbook", re.IGNORECASE)
_MOBILE_WORDS = re.compile(r"\bmobile\b|\bphone\b|opera mini|\bmobi\b", re.IGNORECASE)
_TV_SYSTEMS = frozenset({"ATV OS X", "tvOS", "Roku", "WebTV", "Chromecast", "GoogleTV"})
_MOBILE_SYSTEMS = frozenset(
    {"iOS", "Windows Phone", "Windows Mobile", "BlackBerry OS", "KaiOS", "Firefox OS", "Bada",
     "Symbian OS", "Symbian^3", "Symbian^3 Anna", "Symbian^3 Belle", "Nokia Series 40",
     "MeeGo", "Maemo", "webOS"}
)  # fmt: skip
_DESKTOP_SYSTEMS = frozenset(
    {"Windows", "Mac OS X", "Mac OS", "Linux", "Chrome OS", "Ubuntu", "Debian", "Fedora",
     "Red Hat", "SUSE", "Gentoo", "Slackware", "Arch Linux", "Mageia", "Linux Mint", "CentOS",
     "FreeBSD", "OpenBSD", "NetBSD", "Solaris", "Kubuntu", "Mandriva"}
)  # fmt: skip


def device_of(headers: Mapping[str, str]) -> Device | None:
    """The class that request headers (names in lower case) speak of, or None."""
    hint = headers.get("sec-ch-ua-mobile", "").strip()
    if hint == "?1":
        return "mobile"
    device = device_of_user_agent(headers.get("user-agent", ""))
    # a phone that says it is none asks for desktop sites, and is taken at its word
    return "desktop" if hint == "?0" and device == "mobile" else device


def load_tables() -> None:
    """Takes 0.1 s once, so that the first request to a proxy does not have to wait for it."""
    device_of_user_agent("-")


@lru_cache(maxsize=8192)
def device_of_user_agent(user_agent: str) -> Device | None:
    """The class that a User-Agent speaks of. Costs about 1 ms the first time, then nothing.

    See `load_tables` for the first of all.
    """
    if not user_agent:
        return None
    # ua-parser's tables take 0.1 s to load: only policies that ask for a device pay for them
    from ua_parser import parse

    result = parse(user_agent[:1024])
    family = result.device.family if result.device else ""
    brand = (result.device.brand if result.device else "") or ""
    system = result.os.family if result.os else ""
    if family == "Spider" or brand == "Spider":
        return None
    if system in _TV_SYSTEMS or brand == "Generic_Inettv" or _TV_WORDS.search(user_agent):
        return "tv"
    if brand == "Generic_Android_Tablet" or _TABLET_WORDS.search(user_agent):
        return "tablet"
    if system == "Android":  # Android's own rule: phones say Mobile, tablets do not
        return "mobile" if _MOBILE_WORDS.search(user_agent) else "tablet"
    if system in _MOBILE_SYSTEMS or (system == "Tizen" or family == "Generic Feature Phone"):
        return "mobile"
    if system in _DESKTOP_SYSTEMS and user_agent.startswith(("Mozilla/", "Opera/")):
        return "desktop"
    return "mobile" if _MOBILE_WORDS.search(user_agent) and system else None
