#!/bin/sh
# One of the proxies: its page is known by its addresses, too, by which Prometheus asks for the metrics.
set -eu
for address in $(hostname -i); do
    set -- "$@" "--set=throttle_page_hosts=$address"
done
exec mitmthrottle run /fleet/policy.yaml "$@"
