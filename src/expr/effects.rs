//! What the reference says of the functions that act on the event, and which functions are Rhai's own.

use super::built_in::BUILT_IN;
use super::functions;

/// A function that acts on the event instead of computing something.
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    /// Its name.
    pub name: &'static str,
    /// How it is called.
    pub signature: &'static str,
    /// What it does, one sentence or two.
    pub summary: &'static str,
}

/// Every one.
pub const EFFECTS: &[Effect] = &[
    Effect {
        name: "drop",
        signature: "drop()",
        summary: "Ends the script and discards the event. What was emitted before is sent; what was put in `state` is kept.",
    },
    Effect {
        name: "emit",
        signature: "emit(value), emit(port, value)",
        summary: "Sends one more event, to the main output or to a port that the script declares in `ports`.",
    },
    Effect {
        name: "null",
        signature: "null()",
        summary: "Null, to be written to a field: `x = null()`. Assigning `()` removes the field instead.",
    },
];

/// The functions and methods that are Rhai's own, by name: each with how it is called.
pub fn of_rhai() -> Vec<(&'static str, &'static str)> {
    let own = |name: &str| functions::find(name).is_some() || EFFECTS.iter().any(|e| e.name == name);
    let mut all: Vec<_> = BUILT_IN.iter().filter(|b| !own(b.name)).map(|b| (b.name, b.call)).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::known;

    #[test]
    fn every_effect_is_a_function_and_the_other_way_round() {
        let own = |name: &str| functions::find(name).is_some();
        for effect in EFFECTS {
            assert!(known::arguments(effect.name).is_some(), "there is no `{}`", effect.name);
        }
        let mut silent: Vec<&str> = known::effects().filter(|name| !own(name)).collect();
        silent.retain(|name| !EFFECTS.iter().any(|e| e.name == *name));
        assert!(silent.is_empty(), "add these to `EFFECTS` in src/expr/effects.rs: {silent:?}");
    }
}
