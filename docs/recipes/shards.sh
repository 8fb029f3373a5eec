#!/bin/sh
# One machine, several processes: a shard each, as many as there are at once. GNU parallel does the same with
#     seq 0 $((SHARDS - 1)) | parallel -j AT_ONCE embedlet embed … --shard {}/$SHARDS
#
#     shards.sh MODEL OUT SHARDS AT_ONCE FILES…
set -eu
model=$1 out=$2 shards=$3 at_once=$4
shift 4
export RAYON_NUM_THREADS=$(( ($(getconf _NPROCESSORS_ONLN) + at_once - 1) / at_once ))
seq 0 $((shards - 1)) |
    xargs -P "$at_once" -I I embedlet embed --quiet --model "$model" --out "$out" --shard "I/$shards" "$@"
