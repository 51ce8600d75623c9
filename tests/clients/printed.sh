#!/bin/bash
# Runs a printed script whole, as somebody who pastes it: printed.sh DIRECTORY HOME <SCRIPT. Its /etc is a copy in
# DIRECTORY, over the real one in this mount namespace (unshare -m), and `sudo` is already root.
set -euo pipefail
directory=$1 home=$2
mkdir -p "$directory/bin" "$directory/work"
if [ ! -d "$directory/etc" ]; then cp -a /etc "$directory/etc"; fi
mountpoint -q /etc || mount --bind "$directory/etc" /etc
printf '#!/bin/sh\nexec env "$@"\n' >"$directory/bin/sudo"
chmod +x "$directory/bin/sudo"
ln -sf "${CHANCERY_TEST_BIN:?}" "$directory/bin/chancery"
export PATH="$directory/bin:$PATH" HOME="$home"
cat >"$directory/work/script"
cd "$directory/work"
# no -e: a script stops by itself where a command fails
exec bash -x script
