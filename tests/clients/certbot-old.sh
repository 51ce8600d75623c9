#!/bin/bash
# certbot 1.21 of PyPI, which Ubuntu 22.04 ships, walks the journey of Debian's. Its CSRs say version 3.
here=$(cd "$(dirname "$0")" && pwd)
export CHANCERY_TEST_CERTBOT="${CHANCERY_TEST_CACHE:-$here/../.cache}/certbot-1.21/bin/certbot"
[ -x "$CHANCERY_TEST_CERTBOT" ] || { echo "skip certbot-old: it is not installed; tests/run certbot-old installs it"; exit 0; }
exec "$here/certbot.sh"
