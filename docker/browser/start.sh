#!/bin/bash
# A screen, the page that shows it, and Chromium on it, which trusts the proxy's authority.
#
# PROXY is the browser's proxy setting; without it there is none, and it is the network that
# sends what it says through the proxy.
set -euo pipefail

ca=$HOME/ca.pem
via=()
setting=()
if [ -n "${PROXY:-}" ]; then
    via=(--proxy "$PROXY")
    setting=("--proxy-server=$PROXY")
fi

# As a user would: the proxy hands out its certificate (never its key) at this address.
for _ in $(seq 150); do
    curl -fs --max-time 2 "${via[@]}" -o "$ca" http://mitm.it/cert/pem && break
    sleep 0.2
done
[ -s "$ca" ] || { echo "the proxy does not hand out its certificate" >&2; exit 1; }
mkdir -p "$HOME/.pki/nssdb"
certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password
certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n mitmproxy -i "$ca"

# Nobody but websockify, in this container, reaches the screen itself.
Xvnc "$DISPLAY" -geometry "${SCREEN:-1280x800}" -depth 24 -SecurityTypes None -localhost \
    -AlwaysShared -rfbport 5901 -Log '*:stderr:0' &
screen=$!
for _ in $(seq 100); do
    [ -S "/tmp/.X11-unix/X${DISPLAY#:}" ] && break
    sleep 0.1
done
matchbox-window-manager -use_titlebar no &
websockify --web /usr/share/novnc 6080 127.0.0.1:5901 &
page=$!

# The sandbox of Chromium's own needs privileges that this container does not have. What it
# would protect is this container: no files of the user's, and no way to any other site.
# A window that is closed comes back.
while sleep 1; do
    chromium "${setting[@]}" --no-sandbox --test-type --user-data-dir="$HOME/profile" \
        --no-first-run --no-default-browser-check --disable-gpu --disable-background-networking \
        --disable-component-update --disable-sync --disable-default-apps --disable-domain-reliability \
        --password-store=basic --remote-debugging-port=9222 \
        --autoplay-policy=no-user-gesture-required --window-position=0,0 \
        "${START:-http://start.example/}" 2>/dev/null || true
done &
browser=$!

wait -n "$screen" "$page" "$browser"
echo "the screen or its page has ended" >&2
exit 1
