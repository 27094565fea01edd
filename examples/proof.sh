#!/bin/sh
# The reference layout in 8 processes, on a tiny checkpoint of its model's shape: as the document draws it
# (experts of both stages on four GPUs), and folded.
# $1: the shardwright command.
set -e
here=$(dirname "$0")

show() {
    printf '\n$ shardwright %s\n\n' "$*"
    "$run" "$@"
}

run=$1
show prove --layout tp2.pp2+ep4.shared --families reference --processes
show prove "$here/reference.yaml" --families reference --processes
