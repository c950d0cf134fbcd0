#!/bin/sh
# Serve the sites named in NAMES. Where no certificate is in reach (the control site takes the
# one that the first site has made), wait for it.
set -eu

if [ "${MAKE_CERTIFICATES:-no}" = yes ]; then
    # shellcheck disable=SC2086 # names, apart from each other
    sh /usr/local/bin/certificates.sh $NAMES
fi
until [ -s /tls/site.pem ]; do sleep 0.2; done
exec nginx -e stderr -c /etc/nginx/site.conf -g "daemon off;"
