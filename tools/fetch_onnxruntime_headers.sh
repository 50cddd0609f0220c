#!/bin/sh
# Takes ONNX Runtime's C headers from the distribution's own mirror: unpacks the small package libonnxruntime-dev of a
# suite that has it, and installs nothing. Needs apt, the network, and no root.
#
# Usage: tools/fetch_onnxruntime_headers.sh [FOLDER]     (default: build/onnxruntime-headers in this repository)
set -eu

package=libonnxruntime-dev
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/build/onnxruntime-headers}

fail() {
  echo "fetch_onnxruntime_headers: error: $1" >&2
  exit 4
}

for tool in apt-get dpkg-deb; do
  command -v "$tool" > /dev/null ||
    fail "$tool is missing: this is for Debian and Ubuntu; elsewhere unpack a release of ONNX Runtime and set ONNXRUNTIME_ROOT"
done

# Where this machine gets its packages from, and the keys that it trusts for that.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
  awk '($1 == "Debian" || $1 == "Ubuntu") && $2 == "main" && $3 !~ /-/ { print $1, $4; exit }
       ($1 == "Debian" || $1 == "Ubuntu") && $2 == "universe" && $3 !~ /-/ { print $1, $4; exit }')
[ -n "$mirror" ] || fail "apt knows no mirror of Debian or Ubuntu: run apt-get update first"
distribution=${mirror%% *}
address=${mirror#* }

case $distribution in
  Debian) suites="trixie forky" component=main keys=/usr/share/keyrings/debian-archive-keyring.gpg ;;
  *) suites="resolute questing" component=universe keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/package"

# A configuration of our own: the lists of the machine stay as they are.
apt() {
  apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User="" \
    -o Acquire::Languages=none -o Debug::NoLocking=1 "$@"
}

for suite in $suites; do
  echo "deb [signed-by=$keys] $address $suite $component" > "$work/sources.list"
  if apt update > "$work/log" 2>&1 && (cd "$work/package" && apt download "$package" >> "$work/log" 2>&1); then
    break
  fi
done
file=$(find "$work/package" -name '*.deb')
[ -n "$file" ] || fail "$package is in none of the suites $suites of $address: $(tail -n 1 "$work/log")"

dpkg-deb -x "$file" "$work/unpacked"
header=$(find "$work/unpacked" -name onnxruntime_c_api.h)
[ -n "$header" ] || fail "$package of $suite holds no onnxruntime_c_api.h"

rm -rf "$folder/include"
mkdir -p "$folder"
cp -R "$(dirname "$header")" "$folder/include"
find "$work/unpacked" -name copyright -exec cp {} "$folder/" \;
version=$(sed -n 's/^#define ORT_API_VERSION //p' "$folder/include/onnxruntime_c_api.h")
echo "$folder: headers of ONNX Runtime, C API version $version, from $distribution $suite"
