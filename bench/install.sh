#!/usr/bin/env bash
# Installs the programs that the bench measures beside mitmthrottle; needs root on Debian or Ubuntu.
# HAProxy can limit bandwidth since 2.7. Where the system's own is older (Debian 12 has 2.6), the
# one of Debian 13 is unpacked into bench/.peers with the libraries it needs; nothing of the
# system is replaced.
set -euo pipefail
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive

programs=(haproxy iproute2)
# An nginx or Squid of another flavour that is there already is as good.
command -v nginx >/dev/null || programs+=(nginx-light)
command -v squid >/dev/null || programs+=(squid)
missing=()
for program in "${programs[@]}"; do
    dpkg-query -W -f '${Status}' "$program" 2>/dev/null | grep -q 'ok installed' || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "${missing[@]}"
fi

can_limit() { "$@" -vv 2>/dev/null | grep -qi bwlim; }

if can_limit haproxy || { [ -x .peers/haproxy ] && can_limit .peers/haproxy; }; then
    exit 0
fi

echo "this system's HAProxy cannot limit bandwidth: taking Debian 13's into bench/.peers"
rm -rf .peers
mkdir -p .peers/apt/lists/partial .peers/apt/archives/partial .peers/root
touch .peers/apt/status
# The mirror and the keys that the system itself uses.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null |
    grep -m1 -E '/debian/?$') || {
    echo "cannot tell this system's Debian mirror: install HAProxy 2.7 or newer yourself" >&2
    exit 1
}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
    >.peers/apt/sources.list
apt_there=(-qq
    -o "Dir::Etc::SourceList=$PWD/.peers/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$PWD/.peers/apt/lists" -o "Dir::State::Status=$PWD/.peers/apt/status"
    -o "Dir::Cache=$PWD/.peers/apt" -o APT::Sandbox::User=root)
apt-get "${apt_there[@]}" update
# With an empty list of what is installed, apt names haproxy and everything under it.
apt-get "${apt_there[@]}" install -y --download-only --no-install-recommends haproxy
for package in .peers/apt/archives/*.deb; do
    dpkg-deb -x "$package" .peers/root
done
rm -rf .peers/apt
cat >.peers/haproxy <<'RUN'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root/usr
exec "$root"/lib*/ld-linux*.so.* --library-path "$(echo "$root"/lib/*-linux-gnu)" \
    "$root/sbin/haproxy" "$@"
RUN
chmod +x .peers/haproxy
can_limit .peers/haproxy || { echo "Debian 13's HAProxy does not run here" >&2; exit 1; }
