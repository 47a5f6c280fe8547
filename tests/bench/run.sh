#!/usr/bin/env bash
# The whole comparison in one run: corpora, Orthanc (SQLite index) and Fileroom side by side, DCMTK's dcmqrscp beside them for
# DIMSE, RESULTS.jsonl and the table.
# The archives are measured in turn, ROUNDS times, and the table has the medians, of the ratios of each round too: a shared machine
# changes its speed by a factor of two within minutes.
# Env: WORK (default build/bench below the repository), ROUNDS (3), STORE_ROUNDS (5, of stores), REPEAT (3, of what cannot be
# repeated in rounds), SECONDS_EACH (3), GROW (50000 instances; 0: leave out)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${WORK:-$root/build/bench}
py=${FILEROOM_PYTHON:-$root/.venv/bin/python}
mkdir -p "$work/C" "$work/tmp"
out="$work/results.jsonl"
: > "$out"
corpus() { [ -f "$work/C/$1/manifest.jsonl" ] || "$py" "$here/gen_corpus.py" --profile "${@:2}" --out "$work/C/$1"; }
corpus ct300 ct --instances 300
corpus ct100 ct --first-patient 200 --patients 2 --instances 50
corpus mixed mixed --first-patient 100 --patients 2 --instances 40
corpus tiny1k tiny --patients 25 --studies 2 --series 2 --instances 10
corpus packed packed --first-patient 300 --instances "${PACKED:-100}"

fresh() { # target, HTTP port
  [ ! -f "$work/$1/pid" ] || "$here/targets/stop.sh" "$work/$1/pid" || true
  rm -rf "$work/$1"
  DATA="$work/$1" HTTP=$2 DIMSE=$(($2 + 1)) "$here/targets/$1.sh" > /dev/null
}
bench() { # target, HTTP port, arguments
  local target=$1 port=$2
  shift 2
  BENCH_TMP="$work/tmp" "$py" "$here/bench.py" --name "$target" --http "http://127.0.0.1:$port/dicom-web" \
    --dimse "127.0.0.1:$((port + 1)):ARCHIVE" --pidfile "$work/$target/pid" --owned "$work/$target" --out "$out" --repeat "${REPEAT:-3}" --seconds "${SECONDS_EACH:-3}" "$@" || true
}
bench_dimse() { # target, DIMSE port, arguments: a server that speaks nothing else
  local target=$1 port=$2
  shift 2
  BENCH_TMP="$work/tmp" "$py" "$here/bench.py" --name "$target" --dimse "127.0.0.1:$port:ARCHIVE" --pidfile "$work/$target/pid" \
    --out "$out" --repeat "${REPEAT:-3}" --seconds "${SECONDS_EACH:-3}" "$@" || true
}
stop() { "$here/targets/stop.sh" "$work/$1/pid" || true; }
trap 'stop orthanc; stop fileroom; stop dcmqrscp' EXIT

reads="--corpus $work/C/ct300 --corpus $work/C/mixed --corpus $work/C/tiny1k"
loads="--load $work/C/ct300 --load $work/C/mixed --load $work/C/tiny1k"
fresh orthanc 14201
fresh fileroom 14301
pairs=("orthanc 14201" "fileroom 14301")
rounds=$(seq "${ROUNDS:-3}")
for pair in "${pairs[@]}"; do
  bench $pair $reads $loads load
  bench $pair $reads rendered idle_associations
done
for round in $rounds; do
  for pair in "${pairs[@]}"; do
    bench $pair --repeat 1 $reads qido wado cfind cget cmove
  done
done
bench fileroom 14301 big big_dimse
fresh dcmqrscp 14211
bench_dimse dcmqrscp 14212 $reads $loads load cfind cget cmove
fresh orthanc 14201 # servers of their own: without a C compiler (targets/orthanc.sh) Orthanc does not survive
fresh fileroom 14301
for pair in "${pairs[@]}"; do
  bench $pair --name "${pair% *}-packed" --corpus "$work/C/packed" --load "$work/C/packed" load wado_transcoded
done
if [ "${GROW:-50000}" -gt 0 ]; then
  corpus grow tiny --patients $((${GROW:-50000} / 40)) --studies 2 --series 2 --instances 10
  fresh orthanc 14201
  fresh fileroom 14301
  for pair in "${pairs[@]}"; do
    set -- $pair
    BENCH_TMP="$work/tmp" "$py" "$here/bench.py" --name "$1-grown" --http "http://127.0.0.1:$2/dicom-web" --dimse "127.0.0.1:$(($2 + 1)):ARCHIVE" \
      --pidfile "$work/$1/pid" --owned "$work/$1" --out "$out" --repeat 3 --corpus "$work/C/grow" --load "$work/C/grow" load qido_studies cfind || true
  done
fi
fresh orthanc 14201
fresh fileroom 14301
for pair in "${pairs[@]}"; do
  bench $pair idle
done
for round in $(seq "${STORE_ROUNDS:-5}"); do
  generation=$((100 + 50 * round))
  for workload in stow_serial stow_parallel dimse_ingest; do # each of both archives, one right after the other
    for pair in "${pairs[@]}"; do
      bench $pair --repeat 1 --gen $generation --ingest "$work/C/tiny1k" --ingest "$work/C/ct100" $workload
    done
    generation=$((generation + 12))
  done
  for pair in "${pairs[@]}"; do
    bench $pair --repeat 1 --gen $generation --max-ingest 200 --ingest "$work/C/tiny1k" --nagle cstore_1assoc
  done
done
fresh dcmqrscp 14211
bench_dimse dcmqrscp 14212 --ingest "$work/C/tiny1k" --ingest "$work/C/ct100" dimse_ingest
bench_dimse dcmqrscp 14212 --gen 300 --max-ingest 200 --ingest "$work/C/tiny1k" --nagle cstore_1assoc
(cd "$root" && "$py" -m tests.bench.waiting 100000 "$out") || true
"$py" "$here/ratios.py" "$out" > "$work/table.md"
cat "$work/table.md"
