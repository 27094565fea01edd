#!/bin/sh
# A checkpoint that anyone can make (random weights), then tokens from it with the layout of reference.yaml.
here=$(dirname "$0") folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python -m shardwright.run.tiny reference "$folder" &&
    shardwright run "$here/reference.yaml" --checkpoint "$folder" --prompt 'To be,' --prompt 'or not to be' --tokens 4
