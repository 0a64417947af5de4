#!/usr/bin/env bash
# What the defaults of `gmlayers train` were chosen from: validation error on MNIST, two seeds each.
# usage: benchmarks/mnist_defaults.sh [FOLDER [PATTERN]]    (then: gmlayers compare FOLDER/*/)
# One run per line, two at a time on one thread each; finished runs are kept, so that it can be started again.
set -eu
folder=${1:-runs/mnist-defaults}
mkdir -p "$folder"

configurations() {
  cat <<'LIST'
low_rank-default
low_rank-init-0.03 --init-scale 0.03
low_rank-init-0.3 --init-scale 0.3
low_rank-init-1 --init-scale 1
low_rank-lr-0.0025 --lr 0.0025
low_rank-lr-0.01 --lr 0.01
low_rank-dropout-0.2 --input-dropout 0.2
low_rank-dropout-0.4 --input-dropout 0.4
low_rank-rank-0 --rank 0
low_rank-rank-2 --rank 2
low_rank-base-diagonal --base diagonal
low_rank-adamw-0.05 --optimizer adamw --weight-decay 0.05
low_rank-gelu --activation gelu
low_rank-mean --scaling mean
low_rank-adamw-0.2 --optimizer adamw --weight-decay 0.2
low_rank-std-lr-0.0005 --std-lr 0.0005
low_rank-init-0.03-lr-0.01 --init-scale 0.03 --lr 0.01
low_rank-relu-squared --activation relu_squared
fc-adam --optimizer adam --weight-decay 0
fc-lr-0.001 --optimizer adam --weight-decay 0 --lr 0.001
fc-lr-0.004 --optimizer adam --weight-decay 0 --lr 0.004
fc-dropout-0.2 --optimizer adam --weight-decay 0 --input-dropout 0.2
fc-dropout-0.4 --optimizer adam --weight-decay 0 --input-dropout 0.4
fc-adamw-0.05 --optimizer adamw --weight-decay 0.05
fc-adamw-0.2 --optimizer adamw --weight-decay 0.2
fc-gelu --optimizer adam --weight-decay 0 --activation gelu
fc-smoothing-0.05 --optimizer adam --weight-decay 0 --label-smoothing 0.05
fc-batch-64 --optimizer adam --weight-decay 0 --batch-size 64
fc-batch-256 --optimizer adam --weight-decay 0 --batch-size 256
fc-dropout-0.4-lr-0.004 --optimizer adam --weight-decay 0 --input-dropout 0.4 --lr 0.004
fc-dropout-0.2-lr-0.001 --optimizer adam --weight-decay 0 --input-dropout 0.2 --lr 0.001
fc-cosine --optimizer adam --weight-decay 0 --schedule cosine
diagonal-default
diagonal-init-0.03 --init-scale 0.03
diagonal-init-0.01 --init-scale 0.01
diagonal-lr-0.0025 --init-scale 0.03 --lr 0.0025
diagonal-lr-0.01 --init-scale 0.03 --lr 0.01
diagonal-dropout-0.1 --init-scale 0.03 --input-dropout 0.1
diagonal-dropout-0.3 --init-scale 0.03 --input-dropout 0.3
LIST
}

one() {
  set -- $1
  name=$1
  shift
  [ -e "$folder/$name/summary.json" ] && return 0
  rm -rf "${folder:?}/$name"
  gmlayers train mnist --model "${name%%-*}" --validate --seeds 0 1 --threads 1 --out "$folder/$name" "$@" \
    >"$folder/$name.log" 2>&1
  echo "$name done"
}
export -f one
export folder
configurations | grep -e "${2:-.}" | xargs -P "${JOBS:-2}" -d '\n' -I{} bash -c 'one "{}"'
