"""Hosts that look like a substring accident: a `~regex` that says more than its author thinks.

The one rule: known hosts are asked. A regex that looks like a host's name and is found in the
middle of a word of another, well-known one is the accident of March 2021, when `t.co` slowed
microsoft.com and reddit.com.
"""

from __future__ import annotations

import re

from mitmthrottle.policy.language.hosts import HostPattern
from mitmthrottle.policy.language.pattern import compile_regex

# Names that very different people visit; what matters is that they are many and known.
_NAMES = """
microsoft.com reddit.com facebook.com google.com adobe.com akamai.net alibaba.com aliexpress.com
amazon.com amazonaws.com apache.org apple.com archive.org baidu.com bbc.co.uk bing.com
blogspot.com booking.com box.com bbc.com canva.com cloudflare.com cnn.com debian.org discord.com
disney.com dropbox.com duckduckgo.com ebay.com espn.com etsy.com fandom.com fastly.net figma.com
flickr.com github.com gmail.com googlevideo.com gstatic.com hotmail.com ibm.com icloud.com
imdb.com imgur.com instagram.com intel.com linkedin.com live.com mail.ru medium.com mozilla.org
msn.com mit.edu naver.com netflix.com nih.gov npmjs.com nytimes.com office.com ok.ru openai.com
oracle.com paypal.com pinterest.com python.org qq.com quora.com roblox.com samsung.com
shopify.com skype.com slack.com snapchat.com sony.com soundcloud.com spotify.com
stackoverflow.com steampowered.com telegram.org theguardian.com tiktok.com tumblr.com twitch.tv
twitter.com ubuntu.com vimeo.com vk.com walmart.com weather.com wechat.com whatsapp.com
wikipedia.org windows.com wordpress.com x.com yahoo.com yandex.ru youtube.com zoom.us
"""
WELL_KNOWN = tuple(_NAMES.split())
_LIKE_A_NAME = re.compile(r"\^?(?:\.\*)?[\w.\\-]*\w\\?\.[\w.\\-]*\w(?:\.\*)?\$?")
_BARE_DOT = re.compile(r"(?<![\\\W])\.(?=\w)")


def substring_host(pattern: HostPattern) -> str | None:
    """What a host pattern surely does beyond what was meant; None if nothing is known."""
    if pattern.kind != "regex" or not _LIKE_A_NAME.fullmatch(pattern.name):
        return None
    meant = pattern.name.strip("^$").removeprefix(".*").removesuffix(".*").replace("\\", "")
    meant = meant.lstrip(".")
    hit = [host for host in WELL_KNOWN if _inside(pattern.name, host, meant)]
    if hit:
        shown = " and ".join(f"`{host}`" for host in hit[:2])
        more = f" and {len(hit) - 2} other well-known hosts" if len(hit) > 2 else ""
        return (
            f"`{pattern.text}` is found in {shown}{more} too: did you mean `.{meant}`, "
            "which is that name and its subdomains?"
        )
    if _BARE_DOT.search(pattern.name.strip("^$").removeprefix(".*").removesuffix(".*")):
        return (
            f"in `{pattern.text}` a `.` is any character: did you mean `.{meant}` (no regex), "
            f"or `{_escaped(pattern.text)}`?"
        )
    return None


def _inside(source: str, host: str, meant: str) -> bool:
    """Whether the regex is found in a host, and not as that name or a part of whole labels."""
    if host == meant or host.endswith("." + meant):
        return False
    found = compile_regex(source.removeprefix(".*"), re.IGNORECASE).search(host)
    if found is None or found.start() == found.end():
        return False
    start = found.start()
    return start > 0 and host[start - 1] != "." and host[start] != "."


def _escaped(text: str) -> str:
    return _BARE_DOT.sub(r"\\.", text)
