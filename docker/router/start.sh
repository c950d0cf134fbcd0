#!/bin/sh
# Be the gateway GATEWAY (with its prefix length) of the network it lies in, and send to the proxy
# what devices there send to anybody else. The proxy runs in this container's network.
set -eu

lan=$(ip -o -4 route get "${GATEWAY%/*}" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
ip address replace "$GATEWAY" dev "$lan"
nft -D lan="$lan" -f /etc/demo/rules.nft
echo "the gateway is ${GATEWAY%/*} at $lan; what comes in there goes to the proxy"
exec sleep infinity
