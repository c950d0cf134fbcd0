"""Draws a scenario from a seed."""

from __future__ import annotations

import random
from typing import Any

from .exchange import JPEG
from .steps import (
    Ask,
    Busy,
    Cancel,
    Client,
    Command,
    Comment,
    Edit,
    Host,
    MeddlerLast,
    Open,
    Option,
    Origin,
    Policy,
    Relay,
    Replay,
    SetClock,
    Stop,
    Suspend,
    Twist,
    Uptime,
    Wait,
    When,
    _Step,
)

SMALL, SLOW, FAST = 4_000, 16_000, 250_000


class Draw:
    """Steps from a source of chance."""

    def __init__(self, seed: int, length: int = 16) -> None:
        self.r = random.Random(f"scenario/{seed}")
        self.length = length
        self.steps: list[_Step] = []
        self.number = 0
        self.clients: dict[int, str] = {}
        self.hosts = [
            "a1.test",
            "a1.test",
            "a2.test",
            "a2.test",
            "b1.test",
            "b2.test",
            "c1.test",
            "c2.test",
        ]
        self.rates: dict[int, int] = {}

    def maybe(self, chance: float) -> bool:
        return self.r.random() < chance

    def add(self, step: _Step) -> None:
        self.steps.append(step)

    # -- the policy

    def rate(self) -> str:
        return f"{self.r.choice([2_000, 8_000, 16_000, 64_000, 250_000, 1_000_000])} B/s"

    def rates_of(self) -> Any:
        per = self.r.choice(["response", "response", "connection", "client", "host", "rule"])
        first: Any = self.rate() if per == "response" else {"limit": self.rate(), "per": per}
        if self.maybe(0.25):
            others = [p for p in ("response", "connection", "client", "host", "rule") if p != per]
            return [first, {"limit": self.rate(), "per": self.r.choice(others)}]
        return first

    def stages(self) -> list[Any]:
        found: list[Any] = []
        for _ in range(self.r.randint(1, 3)):
            stage: dict[str, Any] = {"for": self.r.choice(["500 ms", "2 s", "1 d"])}
            what = self.r.random()
            if what < 0.7:
                stage["rate"] = self.rate()
            elif what < 0.8:
                stage["pass"] = True
            elif what < 0.9:
                stage["delay"] = "200 ms"
            else:
                stage["block"] = self.r.choice([451, "reset"])
            found.append(stage)
        return found

    def effect(self, key: str) -> Any:
        r = self.r
        match key:
            case "rate":
                return self.rates_of()
            case "burst":
                return r.choice(["1500 B", "16 KiB", "256 B"])
            case "as":
                return r.choice(["policer", "shaper"])
            case "delay":
                return r.choice(["300 ms", "2 s", {"mean": "300 ms", "jitter": "80 ms"}])
            case "stall":
                return r.choice(
                    [
                        {"after": "1 KiB", "for": "1 s"},
                        {"after": "4 KiB", "for": "1 h"},
                        {"after": "2 KiB", "for": "500 ms", "every": "16 KiB"},
                    ]
                )
            case "cut":
                return {
                    "after": r.choice(["0 B", "1 KiB", "16 KiB"]),
                    "how": r.choice(["reset", "close"]),
                }
            case "block":
                return r.choice([451, 451, 503, "reset", "timeout"])
            case "requests":
                return r.choice(
                    ["2 / 2 s", "10 / 3 s", "5/s", {"limit": "1 / 20 s", "per": "client"}]
                )
            case "quota":
                return r.choice(
                    [
                        {"free": "10 kB", "per": "client"},
                        {"free": "100 kB", "per": "client", "every": "hour"},
                        {"free": "50 kB", "per": "response"},
                        {"free": "30 kB", "per": "rule", "every": "day"},
                    ]
                )
            case "stages":
                return self.stages()
            case "from":
                return "response"
            case "upload":
                return (
                    {"rate": self.rate()}
                    if self.maybe(0.7)
                    else {"rate": self.rate(), "delay": "200 ms"}
                )
            case "like":
                return r.choice(["wpt/3gslow", "devtools/slow-4g"])
        raise ValueError(key)

    def policy(self) -> None:
        for rule in (0, 1):
            if rule and self.maybe(0.4):
                continue
            what = self.r.random()
            if what < 0.08:
                keys = ["block"]
            elif what < 0.14:
                keys = ["block", "quota"]
            elif what < 0.2:
                keys = ["upload"]
            elif what < 0.26:
                keys = ["like"]
            elif what < 0.34:
                keys = ["delay"]
            elif what < 0.44:
                keys = ["stages"]
            else:
                keys = ["rate"]
            for key in (
                "burst",
                "as",
                "delay",
                "stall",
                "cut",
                "requests",
                "quota",
                "stages",
                "upload",
            ):
                if key not in keys and self.maybe(0.13):
                    keys.append(key)
            if "stages" in keys and self.maybe(0.3):
                keys.append("from")
            if keys == ["block", "quota"] or ("quota" in keys and len(keys) > 1):
                keys.sort(key=lambda key: key == "quota")
            for key in keys:
                self.add(Policy(rule, key, self.effect(key)))
            if self.maybe(0.15):
                self.add(
                    When(
                        rule,
                        *self.r.choice(
                            [("content", "photo"), ("size", ">= 2 kB"), ("method", ["GET", "POST"])]
                        ),
                    )
                )

    # -- who is there

    def setup(self) -> None:
        r = self.r
        if self.maybe(0.06):
            self.add(Uptime(r.choice([2.0**24 + 1, 2.0**27 + 0.1, 100 * 365 * 86400.0])))
        if self.maybe(0.2):
            self.add(Busy(0.002))
        if self.maybe(0.5):
            self.add(Option("stream_large_bodies", r.choice(["1", "2k", "1m"])))
        if self.maybe(0.1):
            self.add(Option("tcp_timeout", 12))
        if self.maybe(0.2):
            self.add(Option("connection_strategy", "lazy"))
        if self.maybe(0.2):
            self.add(Option("throttle_server_timing", True))
        if self.maybe(0.1):
            self.add(Option("store_streamed_bodies", True))
        if self.maybe(0.3):
            self.add(MeddlerLast())
        for host in ("a1.test", "a2.test", "a3.test", "b1.test", "b2.test"):
            if self.maybe(0.35):
                self.add(
                    Host(
                        host,
                        r.choice([0.001, 0.02, 0.1]),
                        r.choice([4096, 65536, 262144]),
                        r.choice([65_535, 65_535, 1 << 20]),
                        r.choice([None, None, 700, 20_000]),
                    )
                )
        self.policy()

    def open(self) -> None:
        r = self.r
        number = len(self.clients)
        kind = r.choice(["h1", "h1", "h2", "h2", "tunnel1", "tunnel2"])
        host = r.choice(["a1.test", "a2.test", "b1.test", "c1.test"])
        self.clients[number] = kind
        self.add(
            Open(
                number,
                kind,
                r.choice([0.001, 0.002, 0.05]),
                r.choice([8192, 131072, 131072]),
                r.choice([65_535, 65_535, 65_535, 1000, 1 << 20]),
                r.choice([None, None, None, 300]),
                r.choice(["198.18.0.7", "198.18.0.7", "198.18.0.8"]),
                host,
            )
        )

    def size(self) -> int:
        r = self.r
        return r.choice(
            [
                0,
                1,
                r.randint(1, 600),
                r.randint(600, 5000),
                r.randint(5000, 40_000),
                r.randint(5000, 40_000),
                r.randint(40_000, 300_000),
            ]
        )

    def ask(self) -> None:
        r = self.r
        http = [
            number
            for number, kind in self.clients.items()
            if kind in ("h1", "h2", "tunnel1", "tunnel2")
        ]
        if not http:
            self.open()
            return
        self.number += 1
        number = self.number
        if self.maybe(0.12):
            self.relay(number)
            return
        client = r.choice(http)
        host = r.choice(self.hosts) if self.maybe(0.96) else "d1.test"
        method, up = "GET", 0
        if self.maybe(0.3):
            method, up = "POST", self.size()
        elif self.maybe(0.06):
            method = "HEAD"
        down = self.size()
        self.twist(number, host, up, down)
        self.add(Ask(number, client, host, method, up, down))

    def twist(self, number: int, host: str, up: int, down: int) -> None:
        r = self.r

        def say(name: str, value: Any) -> None:
            self.add(Twist(number, name, value))

        if self.maybe(0.3):
            say("framing", r.choice(["chunked", "chunked", "eof"]))
        if up and self.maybe(0.3):
            say("up_framing", "chunked")
        if up and self.maybe(0.2):
            say("slow_up", 0.05)
        if self.maybe(0.1):
            say("content_type", r.choice([None, "application/octet-stream", "text/html"]))
            if self.maybe(0.5):
                say("starts", JPEG)
        if self.maybe(0.12):
            say("pause", (r.randint(0, max(1, down)), r.choice([0.1, 1.0, 3.0])))
        if self.maybe(0.08):
            say("answer_delay_s", r.choice([0.1, 1.0]))
        if self.maybe(0.1):
            say(
                "ends",
                (
                    r.randint(-1, max(1, down)),
                    r.choice(["close", "reset", "hang", "rst", "goaway"]),
                ),
            )
        if up and self.maybe(0.2):
            say("early", True)
        if self.maybe(0.1):
            say("trailers", True)
        if self.maybe(0.04):
            say("status", r.choice([204, 304, 404, 500]))
        if self.maybe(0.14):
            hook = r.choice(["requestheaders", "request", "responseheaders", "response"])
            deeds = {
                "requestheaders": ["kill", "answer", "raise", "slow"],
                "request": ["kill", "answer", "raise", "slow"],
                "responseheaders": [
                    "kill",
                    "raise",
                    "slow",
                    "stream",
                    "unstream",
                    "stream-list",
                    "stream-raise",
                ],
                "response": ["kill", "raise", "slow"],
            }[hook]
            say("meddling", (hook, r.choice(deeds)))

    def relay(self, number: int) -> None:
        r = self.r
        client = len(self.clients)
        kind = r.choice(["relay", "tcp", "upgrade", "websocket", "websocket"])
        self.clients[client] = kind
        host = r.choice(["a3.test", "a3.test", "b3.test", "c3.test"])
        if kind in ("relay", "tcp"):
            host = (
                self.r.choice(["p0.test", "p0.test", "p1.test", "p2.test"])
                if self.maybe(0.5)
                else host
            )
        if self.maybe(0.5):
            self.add(Twist(number, "at_once", True))
        if self.maybe(0.15):
            self.add(Twist(number, "slow_up", 0.1))
        down = self.size()
        if self.maybe(0.1):
            self.add(
                Twist(
                    number,
                    "ends",
                    (r.randint(0, max(1, down)), r.choice(["close", "reset", "hang"])),
                )
            )
        self.add(
            Relay(number, client, kind, host, max(1, self.size()), down, r.choice([0.001, 0.05]))
        )

    def hostile(self) -> None:
        r = self.r
        client = r.randrange(max(1, len(self.clients)))
        number = r.randint(max(1, self.number - 3), max(1, self.number))
        rule = r.choice([0, 0, 1])
        what = r.random()
        if what < 0.28:
            deed = r.choice(
                ["reset", "close", "half-close", "stop", "read", "slow", "goaway", "window"]
            )
            value = {"slow": 5000, "window": r.choice([0, 100, 65_535, 1 << 20])}.get(deed, 0)
            self.add(Client(client, deed, value))
        elif what < 0.38:
            self.add(Cancel(number))
        elif what < 0.46:
            self.add(Origin(number, r.choice(["close", "reset", "rst", "goaway"])))
        elif what < 0.54:
            self.add(Comment())
        elif what < 0.74:
            key = r.choice(
                [
                    "rate",
                    "rate",
                    "rate",
                    "burst",
                    "as",
                    "delay",
                    "stall",
                    "cut",
                    "block",
                    "requests",
                    "quota",
                    "stages",
                    "upload",
                    "rule",
                    "then",
                ]
            )
            edit: Any
            if key == "rule":
                edit = self.maybe(0.4)
            elif key == "then":
                edit = {"pass": True} if self.maybe(0.5) else {"rate": self.rate()}
            else:
                edit = None if key not in ("rate",) and self.maybe(0.4) else self.effect(key)
            self.add(Edit(rule, key, edit))
        elif what < 0.9:
            name = f'"rule {rule}"'
            after = r.choice(["", "", ' "500 ms"'])
            self.add(
                Command(
                    r.choice(
                        [
                            f'throttle.rate {name} "{self.rate()}"{after}',
                            f"throttle.disable {name}{after}",
                            f"throttle.enable {name}{after}",
                        ]
                    )
                )
            )
        elif what < 0.94:
            self.add(SetClock(r.choice([-7200.0, 3600.0, 100 * 365 * 86400.0])))
        elif what < 0.97:
            self.add(Suspend(r.choice([0.3, 3.0, 60.0])))
        elif what < 0.985:
            self.add(Stop())
        else:
            self.add(Comment())

    def whole(self) -> list[_Step]:
        theme = self.r.random()
        if theme < 0.55:
            self.anything()
        else:
            names = (
                "frame",
                "steady",
                "quota",
                "starts",
                "together",
                "upwards",
                "edited",
                "relayed",
            )
            getattr(self, names[int((theme - 0.55) / 0.45 * len(names))])()
        return self.steps

    def anything(self) -> None:
        self.setup()
        for _ in range(self.r.randint(1, 3)):
            self.open()
        calm = self.maybe(0.3)
        for _ in range(self.r.randint(max(2, self.length // 3), self.length)):
            what = self.r.random()
            if what < 0.5:
                self.ask()
            elif what < 0.52:
                self.number += 1
                up = self.r.choice([0, 0, 500])
                self.add(Replay(self.number, self.r.choice(self.hosts), up, self.size()))
            elif what < 0.72:
                self.add(Wait(self.r.choice([0.01, 0.1, 0.5, 1.0, 2.0])))
            elif what < 0.77:
                self.open()
            elif not calm:
                self.hostile()

    def frame(self) -> None:
        """No rule is for any host: nothing on the wire may differ from bare mitmproxy's."""
        self.hosts = ["c1.test", "c2.test"]
        self.anything()
        self.steps = [
            s
            for s in self.steps
            if not (isinstance(s, (Policy, Edit)) and s.key in ("upload", "like"))
        ]

    def steady(self) -> None:
        """Long bodies, a change on the way."""
        r = self.r
        slow = r.choice([8_000, 16_000, 64_000])
        fast = r.choice([125_000, 500_000, 2_000_000])
        if self.maybe(0.4):
            outer = {"limit": f"{4 * slow} B/s", "per": r.choice(["client", "rule", "connection"])}
            self.add(
                Policy(0, "rate", [f"{slow} B/s", outer] if self.maybe(0.5) else [f"{slow} B/s"])
            )
            self.add(Policy(0, "burst", r.choice(["1500 B", "3000 B", "16 KiB"])))
            if self.maybe(0.5):
                slow = 125_000
                self.add(
                    Policy(0, "rate", [f"{slow} B/s", {"limit": "500000 B/s", "per": "client"}])
                )
        else:
            self.add(Policy(0, "rate", f"{slow} B/s"))
        host = r.choice(["a1.test", "a2.test"])
        self.add(Host(host, r.choice([0.002, 0.05, 0.1]), 262_144, 65_535, None))
        if self.maybe(0.5):
            self.add(Busy(0.002))
        if self.maybe(0.5):
            self.add(Option("stream_large_bodies", "1"))
        self.add(Open(0, r.choice(["h1", "h2"]), 0.001, 262_144, 1 << 20))
        size = int(slow * r.choice([4, 8, 12]))
        change = r.random()
        if change < 0.3:
            self.add(Ask(1, 0, host, "GET", 0, size))
            return
        if change < 0.5:
            self.add(Policy(0, "rate", f"{fast} B/s"))
            self.add(Ask(1, 0, host, "GET", 0, min(int(1.2 * fast + 4 * slow), 4_000_000)))
            self.add(Wait(r.choice([0.5, 1.0])))
            self.add(
                r.choice(
                    [
                        Edit(0, "rate", f"{slow} B/s"),
                        Command(f'throttle.rate "rule 0" "{slow} B/s"'),
                    ]
                )
            )
            return
        big = min(int(fast * 4 + slow * 2), 4_000_000)
        self.add(Ask(1, 0, host, "GET", 0, big))
        self.add(Wait(r.choice([1.0, 2.0])))
        self.add(
            r.choice(
                [
                    Edit(0, "rate", f"{fast} B/s"),
                    Edit(0, "rate", f"{fast} B/s"),
                    Edit(0, "rule", False),
                    Edit(0, "then", {"pass": True}),
                    Command(f'throttle.rate "rule 0" "{fast} B/s"'),
                    Command('throttle.disable "rule 0"'),
                ]
            )
        )

    def quota(self) -> None:
        r = self.r
        free = r.choice([20, 100, 400])
        every = r.choice([None, "hour", "10 s"])
        quota: dict[str, Any] = {
            "free": f"{free} kB",
            "per": r.choice(["client", "rule", "response"]),
        }
        if every:
            quota["every"] = every
        self.add(Policy(0, "rate", r.choice(["4000 B/s", "16000 B/s"])))
        self.add(Policy(0, "quota", quota))
        if self.maybe(0.4):
            self.add(Policy(0, "then", {"block": r.choice([429, "reset"]), "quota": quota}))
        else:
            for key in ("cut", "stall", "requests", "upload", "delay"):
                if self.maybe(0.3):
                    self.add(Policy(0, key, self.effect(key)))
        host = r.choice(["a1.test", "a2.test"])
        self.add(Host(host, 0.05, 8192, 65_535, None))
        self.add(Open(0, r.choice(["h1", "h2"]), 0.001))
        for number in range(1, r.randint(2, 4)):
            size = r.choice([free * 300, free * 900, free * 1500])
            self.add(Ask(number, 0, host, r.choice(["GET", "POST"]), r.choice([0, 0, 5000]), size))
            if self.maybe(0.6):
                self.add(Wait(r.choice([0.1, 0.5, 3.0])))
            if self.maybe(0.4):
                self.add(
                    r.choice(
                        [
                            Comment(),
                            Comment(),
                            Edit(0, "quota", None),
                            SetClock(-3600.0),
                            Wait(8.0),
                            Command('throttle.rate "rule 1" "5000 B/s"'),
                        ]
                    )
                )

    def starts(self) -> None:
        r = self.r
        self.add(
            Policy(
                0,
                "requests",
                r.choice(
                    [
                        "10 / 3 s",
                        "2 / 2 s",
                        "1 / 20 s",
                        ["5 / 1 s", {"limit": "8 / 10 s", "per": "client"}],
                    ]
                ),
            )
        )
        self.add(Policy(0, "rate", "64000 B/s"))
        if self.maybe(0.5):
            self.add(Option("tcp_timeout", 12))
        self.add(Open(0, "h2"))
        self.add(Open(1, "h1"))
        for number in range(1, r.choice([3, 8, 22])):
            self.add(
                Ask(number, r.choice([0, 0, 0, 1]), r.choice(["a1.test", "a2.test"]), "GET", 0, 300)
            )
            if self.maybe(0.1):
                self.add(Wait(r.choice([0.1, 1.0])))
            if self.maybe(0.05):
                self.add(Cancel(number))

    def together(self) -> None:
        """Streams of one connection that are woken together, and one that is in trouble."""
        r = self.r
        self.add(
            Policy(0, "rate", r.choice(["16000 B/s", {"limit": "48000 B/s", "per": "client"}]))
        )
        self.add(Open(0, "h2"))
        host = r.choice(["a1.test", "a2.test"])
        for number in range(1, r.randint(3, 5)):
            if self.maybe(0.4):
                self.add(
                    Twist(
                        number,
                        "meddling",
                        ("responseheaders", r.choice(["stream-raise", "kill", "raise", "slow"])),
                    )
                )
            self.add(Ask(number, 0, host, "GET", 0, r.choice([30_000, 60_000])))
        for _ in range(r.randint(0, 3)):
            self.add(Wait(r.choice([0.05, 0.5])))
            self.hostile()

    def upwards(self) -> None:
        r = self.r
        self.add(
            Policy(
                0,
                "upload",
                {"rate": r.choice(["8000 B/s", {"limit": "16000 B/s", "per": "client"}])},
            )
        )
        if self.maybe(0.3):
            self.add(Policy(0, "then", {"block": 451, "upload": {"rate": "8000 B/s"}}))
        if self.maybe(0.3):
            self.add(Option("stream_large_bodies", r.choice(["1", "2k"])))
        self.clients = {0: "h2", 1: "h1"}
        self.add(Open(0, "h2"))
        self.add(Open(1, "h1"))
        for _ in range(r.randint(2, 5)):
            self.number += 1
            if self.maybe(0.3):
                self.add(
                    Twist(
                        self.number,
                        "meddling",
                        ("requestheaders", r.choice(["answer", "kill", "slow"])),
                    )
                )
            if self.maybe(0.2):
                self.add(Twist(self.number, "early", True))
            host = r.choice(["a1.test", "a2.test", "d1.test"])
            self.add(
                Ask(
                    self.number, r.choice([0, 1]), host, "POST", r.choice([0, 1, 3000, 20_000]), 500
                )
            )
            if self.maybe(0.3):
                self.hostile()

    def edited(self) -> None:
        """A slow body, and its rule is edited under it."""
        r = self.r
        for key in r.choice(
            [
                ["rate"],
                ["rate", "stall"],
                ["rate", "cut"],
                ["stages"],
                ["rate", "stages", "from"],
                ["stall"],
            ]
        ):
            self.add(Policy(0, key, self.effect(key)))
        self.clients = {0: "h2", 1: "h1"}
        self.add(Open(0, "h2"))
        self.add(Open(1, "h1"))
        for _ in range(r.randint(1, 3)):
            self.number += 1
            self.add(
                Ask(
                    self.number,
                    r.choice([0, 1]),
                    r.choice(["a1.test", "a2.test"]),
                    "GET",
                    0,
                    r.choice([20_000, 60_000]),
                )
            )
            if self.maybe(0.5):
                self.add(Wait(r.choice([0.1, 0.6, 2.0])))
        for _ in range(r.randint(1, 3)):
            self.add(Wait(r.choice([0.1, 1.0])))
            key = r.choice(["stall", "cut", "rate", "stages", "block", "burst", "as", "delay"])
            choice = r.random()
            if choice < 0.4:
                self.add(Edit(0, key, None if self.maybe(0.4) else self.effect(key)))
            elif choice < 0.6:
                self.add(Edit(0, "stall", {"after": "4 KiB", "for": "1 s"}))
            elif choice < 0.7:
                self.add(Stop())
            else:
                self.hostile()

    def relayed(self) -> None:
        r = self.r
        for rule in (0, 1):
            key = r.choice(["rate", "delay", "like", "stages", "cut"])
            self.add(Policy(rule, key, self.effect(key)))
        for _ in range(r.randint(1, 3)):
            self.number += 1
            self.relay(self.number)
            if self.maybe(0.5):
                self.add(Wait(r.choice([0.1, 1.0])))
            if self.maybe(0.3):
                self.hostile()


def scenario(seed: int, length: int = 16) -> list[_Step]:
    return Draw(seed, length).whole()
