"""A mitmproxy script that writes down how each flow ends, one line of JSON a flow and event.

Rule: it looks at flows through mitmproxy's own hooks only, as any user's script would.
"""

import json
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Flow


class Witness:
    def load(self, loader: Loader) -> None:
        loader.add_option("witness", str, "", "File to write the events to.")

    def response(self, flow: http.HTTPFlow) -> None:
        self._write("response", flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._write("error", flow)

    def update(self, flows: list[Flow]) -> None:
        for flow in flows:
            if isinstance(flow, http.HTTPFlow):
                self._write("update", flow)

    def _write(self, hook: str, flow: http.HTTPFlow) -> None:
        with Path(ctx.options.witness).open("a") as file:
            line = {
                "hook": hook,
                "flow": flow.id,
                "path": flow.request.path,
                "host": flow.request.host,
                "error": flow.error.msg if flow.error else None,
                "marked": flow.marked,
                "comment": flow.comment,
                "throttle": flow.metadata.get("mitmthrottle"),
            }
            file.write(json.dumps(line) + "\n")


addons = [Witness()]
