"""The class of device that sent a request: mobile, tablet, desktop or tv.

The one rule: Sec-CH-UA-Mobile is believed first (`?1` is mobile, `?0` is not), then the words of
the User-Agent, in this order: robots have no class; a word or a model of a television; of a
tablet; of a phone; a desktop's system. Models are asked only where the system leaves it open.

Browsers call themselves `Mozilla/…`, and of those on Android "no Mobile means tablet" is the rule.
Apps write what they like: one on Android or iOS is on a phone unless a word or a model says more.
Consoles at a television count as one, those in the hand and watches as mobile. Programs (curl,
Go) have no class. An iPad whose Safari asks for desktop sites says that it is a Mac, and counts
as one: nothing tells it apart. Every expression here is linear, and an agent is cut to 1 KiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

Device = Literal["mobile", "tablet", "desktop", "tv"]
DEVICES: tuple[Device, ...] = ("mobile", "tablet", "desktop", "tv")
LONGEST_AGENT = 1024  # characters of a User-Agent that are looked at and kept


def _words(*patterns: str) -> re.Pattern[str]:
    """Any of these, each where a word begins; without regard to case."""
    return re.compile("(?<![a-z0-9])(?:" + "|".join(patterns) + ")", re.IGNORECASE)


# `bot` ends a robot's name, but Cubot makes phones
_ROBOT = re.compile(
    r"(?<!cu)bots?(?![a-z])|crawler|spider|slurp|scraper|archiver|facebookexternalhit|"
    r"facebookcatalog|mediapartners-google|bingpreview|google-inspectiontool|"
    r"google favicon|feedfetcher|pingdom|uptimerobot",
    re.IGNORECASE,
)
# What a television, a set-top box, a stick or a console calls itself.
_TV = _words(
    r"(?:smart|google|apple|android|internet|i|d|web|nex|mi|net|inet|hybrid|uhd|beyond|lg|opera"
    r"|sony|sonyd|qtv|hisense|ip|ott|caixa|inetttv|inett|philips|le|fire|yl|fun|x|my|cloud)"
    r"[-_ ]?tv(?![a-z])",
    r"tv(?![a-z])",
    r"smart-?hub",
    r"smart(?:cast|box)",
    r"hbb-?tv",
    r"ce-html",
    r"inettvbrowser",
    r"nettv",
    r"viera",
    r"bravia",
    r"aquos[-_ ]?(?:tv|browser)",
    r"aquosbrowser",
    r"netcast",
    r"web0s",
    r"webos ?tv",
    r"webos\.tv",
    r"vidaa",
    r"vizio",
    r"omi/",
    r"roku",
    r"crkey",
    r"chromecast",
    r"(?-i:AFT[A-Z0-9]{1,8})(?![a-z0-9])",
    r"tivo",
    r"nexus player",
    r"adt-[0-9]",
    r"shield(?: android)?(?: tv)?(?! tablet)(?: build|\)|;)",
    r"mi ?box",
    r"mibox",
    r"set-?top",
    r"stb(?![a-z])",
    r"maple[ 0-9_]",
    r"linux/smarttv",
    r"opera (?:tv|devices)",
    r"kylo",
    r"boxee",
    r"popcorn hour",
    r"dune ?hd",
    r"espial",
    r"humax",
    r"technisat",
    r"technicolor",
    r"vestel",
    r"sonycebrowser",
    r"sonydtv",
    r"dtv",
    r"tvos",
    r"atv(?![a-z])",
    r"freebox",
    r"livebox",
    r"xfinity",
    r"bouygtel",
    r"mag ?[2-5][0-9]{2}(?![0-9])",
    r"infomir",
    r"formuler",
    r"zidoo",
    r"mxq",
    r"minix",
    r"beelink",
    r"tanix",
    r"h96",
    r"x96",
    r"tx[0-9] ?(?:mini|pro|max)",
    r"playstation(?! ?(?:vita|portable))",
    r"xbox",
    r"nintendo (?:wii|switch)",
    r"wii(?![a-z])",
    r"ouya",
)
# Of these nothing but the word's end says so, as in `QM16XE_UB_UHD_ANDROID_TV` or `SmartTvA`.
_TV_INSIDE = re.compile(r"_tv(?![a-z])|androidtv|googletv|smart_?tv|\.tv/|tvbrowser", re.IGNORECASE)
_NO_TV = re.compile(r"playstation (?:vita|portable)|nintendo 3?ds", re.IGNORECASE)
_TABLET = _words(
    r"ipad",
    r"tablet(?! pc)",
    r"playbook",
    r"kindle",
    r"touchpad",
    r"xoom",
    r"transformer",
    r"(?:media|mate|magic|honor ?|redmi |mi |xiaomi |poco |oneplus |oppo |vivo |moto |realme |tcl )"
    r"[-_ ]?pad",
    r"(?:galaxy|lenovo|nokia|moto|alcatel|tcl|iconia|doogee|blackview|teclast|xperia)[-_ ]tab",
    r"xperia tablet",
    r"pixel (?:c|tablet)(?![a-z])",
    r"nexus (?:7|9|10)(?![0-9])",
    r"iconia",
)
# Tablets by the number of their model, as apps and webviews write them.
_TABLET_MODELS = _words(
    r"sm-(?:t|x|p[0-9])[0-9]",
    r"gt-(?:p|n[58])[0-9]",
    r"kf[a-z]{2,6}(?![a-z])",
    r"lenovo (?:tb|yt)-?",
    r"(?:tb|yt)-?[jx]?[0-9]{3}",
    r"(?:ags|bah|sht|btv|cmr|dby|mrx|scm|kob|bzt|wgr|brt|got|mon)[0-9]?-(?:a?[lnw]|at|z)[0-9]{2}",
    r"(?:opd|ops)[0-9]{4}",
    r"lg-?v[0-9]{3}",
    r"mz[56][0-9]{2}",
    r"t1-[a0-9]",
    r"sgp[0-9]{3}",
    r"rmp[0-9]{4}",
    r"tab(?![a-z])",
    r"pad(?![a-z])",
    r"p00[ac]",
    r"k0[01][0-9a-z](?![a-z])",
)
_PHONE = _words(
    r"mobile",
    r"mobi(?![a-z])",
    r"phone",
    r"iphone",
    r"ipod",
    r"opera mini",
    r"windows ?phone",
    r"windows ce",
    r"iemobile",
    r"kaios",
    r"blackberry",
    r"bb10",
    r"symb",
    r"series ?[346]0",
    r"s60(?![0-9])",
    r"nokia",
    r"midp",
    r"cldc",
    r"j2me",
    r"up\.browser",
    r"ucweb",
    r"docomo",
    r"kddi-",
    r"softbank",
    r"sonyericsson",
    r"palm(?:os|source)?(?![a-z])",
    r"webos/",
    r"hpwos",
    r"bada",
    r"meego",
    r"maemo",
    r"sailfish",
    r"tizen",
    r"playstation (?:vita|portable)",
    r"nintendo 3?ds",
    r"watch(?:os|[0-9],|/|;|\)| )",
    r"apple ?watch",
    r"wear ?os",
    r"wearable",
    r"sm-r[0-9]",
    r"ios(?![a-z])",
    r"fban/fbios",
    r"harmonyos",
)
_ANDROID = re.compile(
    r"android|dalvik|exoplayer|media3|stagefright|fban/fb4a|fban/orca-android|\bcronet\b",
    re.IGNORECASE,
)
# An app's own HTTP library, with something about the device in brackets or beside it.
_ANDROID_LIBRARY = re.compile(r"okhttp", re.IGNORECASE)
_MODEL = _words(
    r"sm-[a-z][0-9]",
    r"pixel [0-9]",
    r"redmi",
    r"xiaomi",
    r"mi [0-9a]",
    r"poco",
    r"huawei",
    r"honor",
    r"moto",
    r"xt[0-9]{4}",
    r"oneplus",
    r"in20[0-9]{2}",
    r"cph[0-9]{4}",
    r"rmx[0-9]{4}",
    r"v[12][0-9]{3}[a-z]?(?![0-9])",
    r"m[12][0-9]{3}[a-z]",
    r"2[0-9]{6,9}[a-z]",
    r"lm-[a-z]",
    r"lg-[a-z]",
    r"xq-",
    r"galaxy",
    r"vivo",
    r"oppo",
    r"realme",
    r"tecno",
    r"infinix",
    r"nexus [0-9]",
    r"samsung",
    r"htc",
)
_SILK = _words(r"silk/")  # of Fire tablets, which may ask for desktop sites
_WHATSAPP = re.compile(r"whatsapp/[0-9.]+ [ains](?![a-z])", re.IGNORECASE)
_APPLE_APP = re.compile(r"cfnetwork|\bdarwin/", re.IGNORECASE)
_MAC = _words(r"mac ?os(?: x)?(?![a-z])", r"macintosh", r"macbook", r"imac",
              r"mac(?:mini|pro)?[0-9]", r"x86_64", r"osx", r"ppc")  # fmt: skip
_DESKTOP = _words(r"windows nt", r"windows (?:9|xp|me|2000)", r"win(?:9[58]|32|64|nt)",
                  r"macintosh", r"macos", r"cros ")  # fmt: skip
_BROWSERS_DESKTOP = _words(r"x11", r"linux", r"windows", r"mac", r"(?:free|open|net)bsd", r"sunos",
                           r"ubuntu", r"wayland")  # fmt: skip


def device_of(headers: Mapping[str, str]) -> Device | None:
    """The class that request headers (names in lower case) speak of, or None."""
    hint = headers.get("sec-ch-ua-mobile", "")[:16].strip()
    if hint == "?1":
        return "mobile"
    device = device_of_user_agent(headers.get("user-agent", ""))
    # a phone that says it is none asks for desktop sites, and is taken at its word
    return "desktop" if hint == "?0" and device == "mobile" else device


def device_of_user_agent(user_agent: str) -> Device | None:
    """The class that a User-Agent speaks of; about 0.1 ms the first time, then nothing."""
    return _device_of(user_agent[:LONGEST_AGENT])


@lru_cache(maxsize=4096)
def _device_of(agent: str) -> Device | None:
    if not agent or _ROBOT.search(agent):
        return None
    is_browser = agent.startswith(("Mozilla/", "Opera/"))
    is_phone = _PHONE.search(agent) is not None
    is_android = _ANDROID.search(agent) is not None
    if not _NO_TV.search(agent) and (_TV.search(agent) or _TV_INSIDE.search(agent)):
        return "tv"
    if _TABLET.search(agent):
        return "tablet"
    if is_android:
        if is_browser and is_phone:
            return "mobile"
        if _TABLET_MODELS.search(agent):
            return "tablet"
        # a browser's own rule: phones say Mobile, tablets do not
        return "tablet" if agent.startswith("Mozilla/") else "mobile"
    if is_phone or _WHATSAPP.match(agent):
        return "mobile"
    if _SILK.search(agent):
        return "tablet"
    if _APPLE_APP.search(agent):
        return "desktop" if _MAC.search(agent) else "mobile"
    if _ANDROID_LIBRARY.search(agent) and (_MODEL.search(agent) or _TABLET_MODELS.search(agent)):
        return "tablet" if _TABLET_MODELS.search(agent) else "mobile"
    if _DESKTOP.search(agent) or (is_browser and _BROWSERS_DESKTOP.search(agent)):
        return "desktop"
    return None
