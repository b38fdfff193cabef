//! What is known of one expression: its type, and what it comes to as a condition.

use super::{Kinds, Type};

/// What is known of a value.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What it may be.
    pub of: Type,
    /// What it is if it is a bool at all.
    pub truth: Option<bool>,
}

impl Known {
    /// Nothing.
    pub(super) fn nothing() -> Known {
        Type::any().into()
    }

    /// A bool of which one value is impossible.
    pub(super) fn truth(truth: Option<bool>) -> Known {
        Known { of: Type::of(Kinds::BOOL), truth }
    }

    /// Either of two.
    pub(super) fn or(self, other: &Known) -> Known {
        let truth = if self.truth == other.truth { self.truth } else { None };
        Known { of: self.of.or(&other.of), truth }
    }
}

impl From<Type> for Known {
    fn from(of: Type) -> Self {
        Known { of, truth: None }
    }
}

impl From<Kinds> for Known {
    fn from(kinds: Kinds) -> Self {
        Type::of(kinds).into()
    }
}
