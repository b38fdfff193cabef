//! Points at which a process can be made to die, so that tests can see what a crash between two steps leaves behind.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names the point, and after a colon which time it is deadly (1 if left out): `sink.renamed:2`. With `!` at its end it is a
/// panic of the thread, not the end of the process.
const VARIABLE: &str = "MILLSTREAM_FAULT";

/// What the environment asks for.
struct Fault {
    name: String,
    /// How often the point may still be reached, the deadly time among them.
    left: AtomicU64,
    /// Whether it is a panic.
    panics: bool,
}

/// Ends the process as a crash would if the environment says that this is the point. Does nothing in a release build.
pub fn point(name: &str) {
    #[cfg(test)]
    armed::reach(name);
    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let fault = FAULT.get_or_init(|| std::env::var(VARIABLE).ok().map(|asked| parse(&asked)));
    let Some(fault) = fault.as_ref().filter(|fault| fault.is_due(name)) else { return };
    assert!(!fault.panics, "a panic at `{name}`, as {VARIABLE} asks");
    eprintln!("dies at `{name}`, as {VARIABLE} asks");
    std::process::abort();
}

fn parse(asked: &str) -> Fault {
    let (panics, asked) = asked.strip_suffix('!').map_or((false, asked), |asked| (true, asked));
    let counted = asked.rsplit_once(':').and_then(|(name, times)| Some((name, times.parse().ok()?)));
    let (name, times) = counted.unwrap_or((asked, 1));
    Fault { name: name.to_owned(), left: AtomicU64::new(times), panics }
}

impl Fault {
    fn is_due(&self, name: &str) -> bool {
        self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// The same within a test's own thread: a point that is deadly ends what runs by unwinding, and the test goes on.
#[cfg(test)]
pub(crate) mod armed {
    use std::cell::RefCell;

    thread_local! {
        static ARMED: RefCell<Option<super::Fault>> = const { RefCell::new(None) };
    }

    /// Asks for the end at a point as the environment's variable does.
    pub(crate) fn arm(asked: &str) {
        ARMED.set(Some(super::parse(asked)));
    }

    /// Every point is harmless again; true if the one that was asked for was reached.
    pub(crate) fn disarm() -> bool {
        let armed = ARMED.take();
        armed.is_some_and(|fault| fault.left.into_inner() as i64 <= 0)
    }

    pub(super) fn reach(name: &str) {
        if ARMED.with_borrow(|fault| fault.as_ref().is_some_and(|fault| fault.is_due(name))) {
            std::panic::resume_unwind(Box::new("died as asked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_deadly_the_time_that_was_asked_for() {
        let due = |asked: &str| {
            let fault = parse(asked);
            ["a", "b", "a", "a"].map(|name| fault.is_due(name))
        };
        assert_eq!(due("a"), [true, false, false, false]);
        assert_eq!(due("a:2"), [false, false, true, false]);
        assert_eq!(due("b"), [false, true, false, false]);
        assert_eq!(due("a:9"), [false; 4]);
        assert_eq!(due("a.b:c"), [false; 4]);
        assert_eq!(due(""), [false; 4]);
    }
}
