#!/bin/bash
# PyPI's newest certbot walks the journey of Debian's, and what came after it: profiles and renewal information.
here=$(cd "$(dirname "$0")" && pwd)
export CHANCERY_TEST_CERTBOT="${CHANCERY_TEST_CACHE:-$here/../.cache}/certbot/bin/certbot"
[ -x "$CHANCERY_TEST_CERTBOT" ] || { echo "skip certbot-newest: it is not installed; tests/run certbot-newest installs it"; exit 0; }
exec "$here/certbot.sh"
