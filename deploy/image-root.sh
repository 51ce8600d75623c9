#!/bin/sh
# Lays out the whole file system of the container image: image-root.sh BINARY DIRECTORY. The binary, the libraries it
# is linked to, one user without a shell; no shell, no package manager. tests/clients/packaging.sh runs
# Chancery in what this makes.
set -eu
[ $# -eq 2 ] || { echo "usage: image-root.sh BINARY DIRECTORY" >&2; exit 2; }
binary=$1 root=$2

mkdir -p "$root/usr/local/bin" "$root/etc" "$root/var/lib/chancery" "$root/run/secrets" "$root/tmp"
install -m 0755 "$binary" "$root/usr/local/bin/chancery"
# ldd names the loader and each library with its path
ldd "$binary" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
# names of hosts: files and DNS, which glibc has built in
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'chancery:x:65532:65532::/var/lib/chancery:/' >"$root/etc/passwd"
echo 'chancery:x:65532:' >"$root/etc/group"
chown 65532:65532 "$root/var/lib/chancery"
chmod 0700 "$root/var/lib/chancery"
chmod 1777 "$root/tmp"
