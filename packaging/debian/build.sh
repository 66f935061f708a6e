#!/bin/bash
# Build a Debian package of zoolet from wheels: a virtual environment in /usr/lib/zoolet, the unit of
# systemd, and /etc/zoolet/zoo.cfg.
#
#   build.sh [--tree DIR] OUTPUT_DIR [WHEEL...]
#
# WHEEL: the wheels of zoolet. pip downloads their dependencies, and those of the extras below.
# --tree DIR: a finished content of /usr/lib/zoolet, instead of wheels; VERSION must then be set.
#
# The package is for the release of Debian on which it is built, because it uses Debian's Python.
# Two builds with the same wheels and the same SOURCE_DATE_EPOCH have the same content.
set -euo pipefail
export LC_ALL=C
umask 022

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
python=/usr/bin/python3
home=/usr/lib/zoolet
scripts="zoolet zkServer.sh zkCli.sh zkCleanup.sh zkTxnLogToolkit.sh zkSnapShotToolkit.sh zkSnapshotComparer.sh"

tree=
if [ "$1" = --tree ]; then tree=$2; shift 2; fi
output=$1; shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
mkdir -p "$stage/usr/lib"

# Install wheels into a virtual environment in the stage, as if it were in $home.
install_wheels() {
    local tools=$work/tools wheels=() version wheel
    for wheel; do
        # The distribution zoolet has the dependencies of the server and the shell.
        case $(basename "$wheel") in zoolet_core-*) wheel+="[jobs,server,shell]" ;; esac
        wheels+=("$wheel")
    done
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    "$python" -m venv --without-pip "$stage$home"
    "$python" -m venv "$tools"
    "$tools/bin/python" -m pip --python "$stage$home/bin/python3" install --quiet --no-compile \
        --disable-pip-version-check "${wheels[@]}"
    # The paths of the stage are in the first line of the scripts, and in pyvenv.cfg.
    grep -rlIF "$stage$home" "$stage$home/bin" "$stage$home/pyvenv.cfg" | xargs -r sed -i "s|$stage$home|$home|g"
    sed -i "/^command = /d" "$stage$home/pyvenv.cfg"
    # dpkg has the list of files, with their checksums.
    rm -f "$stage$home"/bin/[Aa]ctivate* "$stage$home"/lib/*/site-packages/*.dist-info/{RECORD,direct_url.json}
    # Debugging symbols are a quarter of the size.
    find "$stage$home/lib" -name '*.so' -print0 | xargs -0 strip --strip-unneeded
    # The interpreter of this minor version, also after Debian's default has changed.
    ln -sf "/usr/bin/$version" "$stage$home/bin/$version"
    ln -sf "$version" "$stage$home/bin/python3"
    ln -sf "$version" "$stage$home/bin/python"
    # The service cannot write bytecode.
    "$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$stage" -p / "$stage$home/lib" >/dev/null
}

if [ -n "$tree" ]; then
    cp -a "$tree" "$stage$home"
else
    [ $# -gt 0 ] || { echo "Name the wheels of zoolet." >&2; exit 2; }
    install_wheels "$@"
    VERSION=$(find "$stage$home/lib" -name 'zoolet*.dist-info' -printf '%f\n' | sort \
        | sed -nE '1s/^[^-]*-(.*)\.dist-info$/\1/p')
fi
: "${VERSION:?set the version of the tree}"
# Debian sorts a tilde before the end of the version: 1.0~rc1 is older than 1.0.
VERSION=$(sed -E 's/([0-9])\.?(a|b|rc|dev)([0-9]+)/\1~\2\3/' <<<"$VERSION")

for name in $scripts; do
    test -e "$stage$home/bin/$name" || { echo "the wheels have no script $name" >&2; exit 1; }
    mkdir -p "$stage/usr/bin" && ln -s "../lib/zoolet/bin/$name" "$stage/usr/bin/$name"
done
install -D -m 644 "$here/../systemd/zoolet.service" "$stage/usr/lib/systemd/system/zoolet.service"
install -D -m 644 "$here/sysusers.conf" "$stage/usr/lib/sysusers.d/zoolet.conf"
install -D -m 644 "$here/zoo.cfg" "$stage/etc/zoolet/zoo.cfg"
install -D -m 644 "$here/copyright" "$stage/usr/share/doc/zoolet/copyright"
install -m 644 "$checkout"/docs/*.md "$checkout/CHANGELOG.md" "$stage/usr/share/doc/zoolet/"

mkdir -p "$stage/DEBIAN"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$stage/DEBIAN/"
echo /etc/zoolet/zoo.cfg >"$stage/DEBIAN/conffiles"
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
architecture=$(dpkg --print-architecture)
installed_kib=$(cd "$stage" && find etc usr -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
sed -e "s|@VERSION@|$VERSION|" -e "s|@ARCHITECTURE@|$architecture|" \
    -e "s|@INSTALLED_KIB@|$installed_kib|" \
    -e "s|@PYTHON@|$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')|" \
    -e "s|@LIBC@|$(dpkg-query -W -f '${Version}' libc6 | sed 's/-.*//')|" \
    "$here/control.in" >"$stage/DEBIAN/control"

mkdir -p "$output"
dpkg-deb --root-owner-group -Zxz --build "$stage" "$output/zoolet_${VERSION}_${architecture}.deb"
