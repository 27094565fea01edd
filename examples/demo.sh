#!/bin/sh
# The main job, three times: audit a document, plan its deployment anew, plan another model.
# $1: the shardwright command. Exit status 1 of a verb means findings: that is what a demo is for.
here=$(dirname "$0")

show() {
    printf '\n$ shardwright %s\n\n' "$*"
    "$run" "$@"
    status=$?
    [ "$status" -le 1 ] || exit "$status"
}

run=$1
show audit "$here/reference.yaml"
show plan "$here/reference.yaml" --best --top 3
show plan "$here/qwen3-30b-a3b.yaml" --top 3
