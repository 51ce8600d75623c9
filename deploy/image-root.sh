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
# licences: ours, those of the crates in the binary, and those of the libraries beside it
docs=$root/usr/share/doc/chancery
mkdir -p "$docs"
here=$(cd "$(dirname "$0")" && pwd)
install -m 0644 "$here/../LICENSE" "$docs/LICENSE"
python3 "$here/notices.py" >"$docs/THIRD-PARTY-NOTICES"
for package in libc6 libgcc-s1; do
  copyright=/usr/share/doc/$package/copyright
  [ ! -e "$copyright" ] || cp -L "$copyright" "$docs/$package.copyright"
done
# names of hosts: files and DNS, which glibc has built in
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'chancery:x:65532:65532::/var/lib/chancery:/' >"$root/etc/passwd"
echo 'chancery:x:65532:' >"$root/etc/group"
chown 65532:65532 "$root/var/lib/chancery"
chmod 0700 "$root/var/lib/chancery"
chmod 1777 "$root/tmp"
