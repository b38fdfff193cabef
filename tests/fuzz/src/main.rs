//! Everything that text and bytes from elsewhere go through, under libFuzzer. One program; `MILLSTREAM_FUZZ` names the
//! target, so that it is linked once. Beside panics, each target looks for answers that contradict each other.
#![no_main]

mod expressions;
mod formats;
mod pipelines;
mod state;
mod stored;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// Each target by name.
const TARGETS: [(&str, fn(&[u8])); 11] = [
    ("config", pipelines::config),
    ("json", formats::json),
    ("csv", formats::csv),
    ("msgpack", formats::msgpack),
    ("logfmt", formats::logfmt),
    ("lines", formats::lines),
    ("expression", expressions::expression),
    ("script", expressions::script),
    ("state", state::state),
    ("state_file", stored::state_file),
    ("journal", stored::journal),
];

fn target() -> fn(&[u8]) {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let asked = std::env::var("MILLSTREAM_FUZZ").unwrap_or_default();
        if let Ok(path) = std::env::var("MILLSTREAM_FUZZ_SAMPLE") {
            let sample = if asked == "journal" { stored::journal_sample() } else { state::sample() };
            std::fs::write(path, sample).expect("written");
            std::process::exit(0);
        }
        match TARGETS.iter().find(|(name, _)| *name == asked) {
            Some((_, target)) => *target,
            None => panic!("MILLSTREAM_FUZZ names a target: {}", TARGETS.map(|(name, _)| name).join(", ")),
        }
    })
}

/// Where the input is kept that is being looked at: a stack that overflows ends the program, and leaves nothing else.
fn last() -> Option<&'static std::path::Path> {
    static LAST: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    LAST.get_or_init(|| std::env::var_os("MILLSTREAM_FUZZ_LAST").map(Into::into)).as_deref()
}

fuzz_target!(|data: &[u8]| {
    if let Some(path) = last() {
        std::fs::write(path, data).expect("written");
    }
    target()(data);
});
