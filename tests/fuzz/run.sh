#!/usr/bin/env bash
# Sends random bytes at whatever reads them: `tests/fuzz/run.sh [SECONDS [TARGET…]]`. SECONDS are shared by the targets,
# 120 unless said (`.ci/run` takes fewer); what is found is kept in target/fuzz/found and fails the run. Inputs that led somewhere new stay in
# target/fuzz/inputs, and the next run begins with them. MILLSTREAM_FUZZ_SEED is where chance begins (0: elsewhere each
# time); it is always the same unless said, so that a change is not refused for what another brought.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-120}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(config json csv msgpack logfmt lines expression script state state_file journal)

# As tests/run.sh does it: as root what is missing is installed, otherwise the run fails. It is never left out silently.
command -v c++ >/dev/null || {
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "tests/fuzz/run.sh: installing g++, which libFuzzer is built with"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++
    else
        echo "tests/fuzz/run.sh: a C++ compiler is missing, which libFuzzer is built with; on Debian: sudo apt-get install g++" >&2
        exit 1
    fi
}

# Files that targets write and read are in memory where that is possible.
memory=/dev/shm
[ -d $memory ] && [ -w $memory ] || memory=${TMPDIR:-/tmp}
MILLSTREAM_FUZZ_DIRECTORY=$(mktemp -d "$memory/millstream-fuzz.XXXXXX")
export MILLSTREAM_FUZZ_DIRECTORY
trap 'rm -rf "$MILLSTREAM_FUZZ_DIRECTORY"' EXIT

# What cargo-fuzz would say; the stable compiler takes it as well. Only our own crates get it (rustc.sh), and the profile
# is that of the tests: what is below them has been built for those.
MILLSTREAM_FUZZ_FLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
MILLSTREAM_FUZZ_FLAGS+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
export MILLSTREAM_FUZZ_FLAGS
RUSTC_WRAPPER=$PWD/tests/fuzz/rustc.sh cargo build --quiet --locked --manifest-path tests/fuzz/Cargo.toml --target-dir target
program=target/debug/millstream-fuzz

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
for target in state journal; do
    [ ! -d "$seeds/$target" ] || MILLSTREAM_FUZZ=$target MILLSTREAM_FUZZ_SAMPLE=$seeds/$target/sample "$program" -runs=1 \
        -artifact_prefix=target/fuzz/ >target/fuzz/sample.log 2>&1 || true
    # The program ends as soon as it has written it, which libFuzzer takes for a failure.
    [ ! -d "$seeds/$target" ] || [ -s "$seeds/$target/sample" ] || {
        echo "tests/fuzz/run.sh: there is no sample for $target: see target/fuzz/sample.log" >&2
        exit 1
    }
done
# A byte that says how, then changes of four bytes each; or what is packed.
if [ -d "$seeds/state_file" ]; then
    printf '\0\4\0\1\1' >"$seeds/state_file/patch"
    printf '\1\1\0\12\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1a' >"$seeds/state_file/chunk"
fi

failed=()
for target in "${targets[@]}"; do
    echo "▶ fuzz $target"
    log=target/fuzz/$target.log
    export MILLSTREAM_FUZZ_LAST=$MILLSTREAM_FUZZ_DIRECTORY/last
    if ! MILLSTREAM_FUZZ=$target "$program" -max_total_time=$((seconds / ${#targets[@]})) -timeout=20 -rss_limit_mb=2048 \
        -seed="${MILLSTREAM_FUZZ_SEED:-1}" -max_len=8192 -artifact_prefix="target/fuzz/found/$target-" "target/fuzz/inputs/$target" "$seeds/$target" >"$log" 2>&1
    then
        failed+=("$target")
        compgen -G "target/fuzz/found/$target-*" >/dev/null || cp "$MILLSTREAM_FUZZ_LAST" "target/fuzz/found/$target-overflow"
        grep -E "panicked|ERROR|SUMMARY|assertion|Test unit" -A3 "$log" | tail -n 20 >&2 || tail -n 20 "$log" >&2
    fi
    grep -E "^(stat::|Done|#[0-9]+.*DONE)" "$log" | tail -n 1 || true
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "tests/fuzz/run.sh: found in ${failed[*]}: see target/fuzz/found and target/fuzz/*.log" >&2
    exit 1
fi
