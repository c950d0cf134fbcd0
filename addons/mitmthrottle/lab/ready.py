"""A mitmproxy script that writes the port it listens on to a file, once it listens.

Rule: whoever starts mitmdump with port 0 reads the port here; there is no moment at which
the port is chosen but not yet held, and no log line to be parsed.
"""

from pathlib import Path

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader


class Ready:
    def load(self, loader: Loader) -> None:
        loader.add_option("lab_ready", str, "", "File to write the listening port to.")

    def running(self) -> None:
        proxyserver = ctx.master.addons.get("proxyserver")
        if ctx.options.lab_ready and proxyserver is not None:
            target = Path(ctx.options.lab_ready)
            # In two steps, so that a reader never sees half a number.
            part = target.with_suffix(".part")
            part.write_text(str(proxyserver.listen_addrs()[0][1]))
            part.rename(target)


addons = [Ready()]
