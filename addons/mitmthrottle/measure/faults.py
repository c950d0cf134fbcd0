"""What can stand between a client and a measurement, each as a sentence with its remedy.

Rule: whoever started the measurement never sees a traceback, and is told what to do.
"""

from __future__ import annotations

import errno
import socket
import ssl

import httpcore


class Unmeasurable(Exception):
    """Nothing could be measured; the message says why, and what would help."""


def explained(error: Exception, url: str, proxy: str | None) -> Unmeasurable:
    """The sentence for an error of the network, TLS or HTTP.

    >>> print(explained(socket.gaierror(-2, "Name or service not known"), "http://a.test/", None))
    http://a.test/: no address is known for this name: check the spelling, and DNS
    """
    return Unmeasurable(f"{url}: {_sentence(error, proxy)}")


def of_status(status: int, location: str | None, url: str) -> Unmeasurable:
    """The sentence for a response that is not what was asked for."""
    if location is not None:
        return Unmeasurable(f"{url}: redirects ({status}) to {location}: measure that URL")
    remedy = {
        401: "it wants a login: give one with --header 'Authorization: ...'",
        403: "it refuses: try --header with a browser's User-Agent, or another URL",
        404: "there is nothing at this URL: check the path",
        405: "it takes no upload here: give a URL that accepts POST",
        407: "the proxy wants a login: --proxy http://NAME:PASSWORD@HOST:PORT",
        413: "the upload is too large for it: give less with --bytes",
        429: "it has had too many requests: wait, or give less --pairs",
        451: "it is blocked for legal reasons: there is nothing to measure",
    }.get(status, "give a URL that answers with 200 and a body")
    return Unmeasurable(f"{url}: answered with status {status}: {remedy}")


def _sentence(error: Exception, proxy: str | None) -> str:
    through = f" (the proxy {proxy})" if proxy else ""
    if isinstance(error, socket.gaierror):
        named = f"the proxy's name ({proxy})" if proxy else "this name"
        return f"no address is known for {named}: check the spelling, and DNS"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}): give its authority with "
            "--cacert FILE (mitmproxy's is ~/.mitmproxy/mitmproxy-ca-cert.pem), or --insecure"
        )
    if isinstance(error, ssl.SSLError):
        reason = error.reason or error.strerror or "the connection ended in it"
        return f"the TLS handshake failed ({reason}): is it HTTPS that is spoken at this port?"
    if isinstance(error, httpcore.ProxyError):
        return f"the proxy {proxy} refuses ({error}): check its address and whom it serves"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens there{through}: check host and port"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return (
            "the connection was reset before the response came: the server, or something on the "
            "way, does not want it; try another URL of the host, or another network"
        )
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return f"no answer in time{through}: check that it is reachable, or give more --seconds"
    if isinstance(error, httpcore.RemoteProtocolError):
        return f"what came is no proper HTTP ({error}){through}: is this a web server's port?"
    if isinstance(error, OSError) and error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH}:
        return f"there is no route to it{through}: check the network"
    return f"{type(error).__name__}: {error}{through}"
