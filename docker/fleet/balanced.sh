#!/bin/bash
# Is there a proxy behind the balancer? Without a program for HTTP, which the image does not have.
exec 3<>/dev/tcp/127.0.0.1/8405 || exit 1
printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3
read -r -t 3 _ status _ <&3 && [ "$status" = 200 ]
