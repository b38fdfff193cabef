#!/usr/bin/env bash
# Stands before rustc: adds what the fuzzer needs to our own crates, and to nothing else.
rustc=$1
shift
case " $* " in
*" --crate-name millstream "* | *" --crate-name millstream_fuzz "*)
    # shellcheck disable=SC2086
    exec "$rustc" "$@" $MILLSTREAM_FUZZ_FLAGS
    ;;
esac
exec "$rustc" "$@"
