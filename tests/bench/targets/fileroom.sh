#!/usr/bin/env bash
# Starts Fileroom with its embedded PostgreSQL and its DIMSE bridge; prints its PID file's path.
# Env: DATA (required), HTTP and DIMSE ports (DIMSE=0: no bridge), MVPORT (of the move destination BENCHMV), FILEROOM_* settings.
set -euo pipefail
here=$(cd "$(dirname "$0")/../../.." && pwd)
: "${DATA:?directory for data}" "${HTTP:=14301}" "${DIMSE:=14302}" "${MVPORT:=14250}"
mkdir -p "$DATA"
cd "$DATA" # so that --owned counts every process of it
FILEROOM_DATA="$DATA" FILEROOM_HTTP_PORT="$HTTP" FILEROOM_DIMSE_PORT="$DIMSE" FILEROOM_AET=ARCHIVE PYTHONPATH="$here" nohup "${FILEROOM_PYTHON:-$here/.venv/bin/python}" -m app.cli serve > "$DATA/fileroom.log" 2>&1 &
echo $! > "$DATA/pid"
for _ in $(seq 300); do
  if curl -sf "http://127.0.0.1:$HTTP/readyz" > /dev/null; then
    [ "$DIMSE" = 0 ] || curl -sf -X PUT -H 'Content-Type: application/json' -d "{\"host\": \"127.0.0.1\", \"port\": $MVPORT}" \
      "http://127.0.0.1:$HTTP/peers/BENCHMV" > /dev/null
    echo "$DATA/pid"; exit 0
  fi
  sleep 0.1
done
echo "did not start; see $DATA/fileroom.log" >&2; exit 1
