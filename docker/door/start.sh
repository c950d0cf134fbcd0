#!/bin/sh
# Say where the demo is to be seen, once everything behind the door is well, and open the door.
set -eu

printf '\n%s\n\n' "$WHERE"
exec nginx -e stderr -c /etc/door/nginx.conf -g "daemon off;"
