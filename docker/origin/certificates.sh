#!/bin/sh
# An authority for the demo's sites, made once and kept in a volume, and a certificate for the
# names given, made at each start. Only the authority's certificate leaves this container: /ca.
set -eu
umask 077

if [ ! -s /tls/ca.key ] || ! openssl x509 -in /ca/ca.pem -noout -checkend 2592000 2>/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=mitmthrottle demo sites" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" \
        -keyout /tls/ca.key -out /ca/ca.part 2>/dev/null
    chmod 644 /ca/ca.part
    mv /ca/ca.part /ca/ca.pem
fi

names=""
for name in "$@"; do names="${names:+$names,}DNS:$name"; done
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
    -keyout /tls/site.key -out /tmp/site.csr 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names" >/tmp/site.ext
openssl x509 -req -in /tmp/site.csr -CA /ca/ca.pem -CAkey /tls/ca.key -days 397 \
    -extfile /tmp/site.ext -out /tls/site.pem 2>/dev/null
