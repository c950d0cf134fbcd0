#!/bin/sh
# The store of the fleet, with a password of its own making; the proxies read it from the same volume.
set -eu
umask 022
password=/run/fleet/password
if [ ! -s "$password" ]; then
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$password.new"
    mv "$password.new" "$password"
fi
# By its input, so that the password is in no list of processes.
printf 'requirepass %s\n' "$(cat "$password")" |
    exec valkey-server - --save "" --appendonly no --protected-mode no --dir /tmp
