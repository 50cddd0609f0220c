#!/bin/sh
# Takes ONNX Runtime's library for 64-bit ARM from its wheel, of the version that constraints.txt pins, and puts it at
# FOLDER/libonnxruntime.so; any machine can do that. Needs pip, unzip is Python's own.
#
# Usage: tools/fetch_onnxruntime_aarch64.sh [FOLDER]     (default: build/onnxruntime-aarch64 in this repository)
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/build/onnxruntime-aarch64}
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*>=.*/\1/p' "$root/constraints.txt")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip download --quiet --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 --python-version 3.11 \
  --dest "$work" "onnxruntime==$version"
python3 -m zipfile -e "$work"/onnxruntime-*.whl "$work/unpacked"
mkdir -p "$folder"
cp "$work/unpacked/onnxruntime/capi/libonnxruntime.so.$version" "$folder/libonnxruntime.so"
cp "$work"/unpacked/onnxruntime/LICENSE "$folder/"
echo "$folder/libonnxruntime.so: ONNX Runtime $version for aarch64"
