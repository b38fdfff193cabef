#!/usr/bin/env bash
# Sends random bytes at whatever reads them: `tests/fuzz/run.sh [SECONDS [TARGET…]]`. SECONDS are shared by the targets,
# 120 unless said; what is found is kept in target/fuzz/found and fails the run. Inputs that led somewhere new stay in
# target/fuzz/inputs, and the next run begins with them.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-120}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(config json csv msgpack logfmt lines expression script state)

command -v c++ >/dev/null || {
    echo "tests/fuzz/run.sh: a C++ compiler is missing, which libFuzzer is built with; on Debian: apt-get install g++" >&2
    exit 1
}

# What cargo-fuzz would say; the stable compiler takes it as well. With a target named, build scripts and macros are
# built without it.
host=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
RUSTFLAGS=$flags cargo build --quiet --release --locked --manifest-path tests/fuzz/Cargo.toml --target "$host" \
    --target-dir target/fuzz/build
program=target/fuzz/build/$host/release/millstream-fuzz

# Samples to begin with: a file each in target/fuzz/seeds/TARGET.
seeds=target/fuzz/seeds
rm -rf "$seeds"
for target in "${targets[@]}"; do
    mkdir -p "$seeds/$target" "target/fuzz/inputs/$target" target/fuzz/found
done
# each TARGET FILE…: the first lines of each, a file each.
each() {
    local target=$1 n=0 line
    shift
    [ -d "$seeds/$target" ] || return 0
    while IFS= read -r line; do
        n=$((n + 1))
        printf '%s' "$line" >"$seeds/$target/line-$(basename "${1:-in}")-$n"
    done < <(head -qn 20 "$@")
}
whole() {
    local target=$1
    shift
    [ ! -d "$seeds/$target" ] || cp "$@" "$seeds/$target/"
}
whole config pipelines/*.yaml tests/mistakes/*.yaml
for file in pipelines/data/*.ndjson; do each json "$file"; done
for file in pipelines/data/*.csv; do
    [ ! -d "$seeds/csv" ] || head -n 5 "$file" >"$seeds/csv/$(basename "$file")"
done
whole msgpack pipelines/data/*.msgpack
each logfmt pipelines/data/service.log
each lines pipelines/data/access.log
# The examples of the reference are expressions; with one of them assigned, scripts.
examples=$seeds/examples
grep -ohP '`\K[^`]+(?=` is `)' schemas/reference/functions.md >"$examples"
if [ -d "$seeds/expression" ]; then
    split -l 1 -a 4 "$examples" "$seeds/expression/example-"
fi
if [ -d "$seeds/script" ]; then
    while IFS= read -r line; do
        n=$((${n:-0} + 1))
        printf 'let x = %s;\na = x; if ok == true { emit(event) } else { map.x = [x, b] }' "$line" >"$seeds/script/$n"
    done <"$examples"
fi
if [ -d "$seeds/state" ]; then
    MILLSTREAM_FUZZ=state MILLSTREAM_FUZZ_SAMPLE=$seeds/state/sample "$program" -runs=1 \
        -artifact_prefix=target/fuzz/ >/dev/null 2>&1 || true
fi

failed=()
for target in "${targets[@]}"; do
    echo "▶ fuzz $target"
    log=target/fuzz/$target.log
    if ! MILLSTREAM_FUZZ=$target "$program" -max_total_time=$((seconds / ${#targets[@]})) -timeout=20 -rss_limit_mb=2048 \
        -max_len=8192 -artifact_prefix="target/fuzz/found/$target-" "target/fuzz/inputs/$target" "$seeds/$target" >"$log" 2>&1
    then
        failed+=("$target")
        grep -E "panicked|ERROR|SUMMARY|assertion|Test unit" -A3 "$log" | tail -n 20 >&2 || tail -n 20 "$log" >&2
    fi
    grep -E "^(stat::|Done|#[0-9]+.*DONE)" "$log" | tail -n 1 || true
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "tests/fuzz/run.sh: found in ${failed[*]}: see target/fuzz/found and target/fuzz/*.log" >&2
    exit 1
fi
