//! What is known of values before there are any: the kinds that a value may be of and, for maps, their members.
//!
//! A [`Type`] never says too little: a value may be of fewer kinds than its type allows, never of others. So whatever no
//! value of a type can do is impossible, and [`read`] reports only that.

mod conditions;
mod functions;
mod known;
mod operators;
mod read;
mod script;
mod unknown;

pub use conditions::{Condition, implied};
pub use read::{Emitted, Given, Typed, read};
pub use unknown::unknown_field;

use compact_str::CompactString;

use crate::data::value::Value;

/// A set of kinds of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u8);

impl Kinds {
    /// No kind: of what never has a value.
    pub const NONE: Kinds = Kinds(0);
    /// Missing or null, which expressions do not tell apart.
    pub const MISSING: Kinds = Kinds(1);
    /// `true` and `false`.
    pub const BOOL: Kinds = Kinds(2);
    /// Integers, floats and numbers beyond both.
    pub const NUMBER: Kinds = Kinds(4);
    /// Text.
    pub const TEXT: Kinds = Kinds(8);
    /// Lists.
    pub const LIST: Kinds = Kinds(16);
    /// Maps.
    pub const MAP: Kinds = Kinds(32);
    /// Every kind.
    pub const ANY: Kinds = Kinds(63);

    /// Each single kind with what messages call it.
    const EACH: [(Kinds, &'static str); 6] = [
        (Kinds::BOOL, "a bool"),
        (Kinds::NUMBER, "a number"),
        (Kinds::TEXT, "text"),
        (Kinds::LIST, "a list"),
        (Kinds::MAP, "a map"),
        (Kinds::MISSING, "null"),
    ];

    /// These and those.
    pub const fn either(these: Kinds, those: Kinds) -> Kinds {
        Kinds(these.0 | those.0)
    }

    /// Whether a kind of these is one of those.
    pub fn meet(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether each of these is one of those.
    pub fn within(self, other: Kinds) -> bool {
        self.0 & !other.0 == 0
    }

    /// These but not those.
    #[must_use]
    pub fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    /// Those of these that are among the others too.
    #[must_use]
    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }
}

impl std::ops::BitOr for Kinds {
    type Output = Kinds;

    fn bitor(self, other: Kinds) -> Kinds {
        Kinds::either(self, other)
    }
}

/// "text", "a number or text". That a value may be missing is left out unless it is all there is to say.
impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = if *self == Kinds::MISSING { *self } else { self.without(Kinds::MISSING) };
        let names: Vec<&str> = Self::EACH.iter().filter(|(kind, _)| kind.within(named)).map(|(_, n)| *n).collect();
        match names.split_last() {
            None => f.write_str("nothing"),
            Some((last, [])) => f.write_str(last),
            Some((last, rest)) => write!(f, "{} or {last}", rest.join(", ")),
        }
    }
}

/// The kinds that a value may be of, and its members where it is a map.
#[derive(Clone, PartialEq, Debug)]
pub struct Type {
    /// The kinds.
    pub kinds: Kinds,
    members: Vec<(CompactString, Type)>,
    /// Whether a map may have members besides those.
    open: bool,
}

/// What is at a path.
#[derive(Clone, PartialEq, Debug)]
pub enum At {
    /// A value of this type.
    Value(Type),
    /// Never anything: the name with this number in the path is no member of what stands before it.
    Never(usize),
}

impl Type {
    /// Nothing is known.
    pub fn any() -> Type {
        Type::of(Kinds::ANY)
    }

    /// Values of these kinds; maps may have any members.
    pub fn of(kinds: Kinds) -> Type {
        Type { kinds, members: Vec::new(), open: true }
    }

    /// A map with just these members.
    pub fn map(members: impl IntoIterator<Item = (CompactString, Type)>) -> Type {
        Type { kinds: Kinds::MAP, members: members.into_iter().collect(), open: false }
    }

    /// Just what this value is.
    pub fn constant(value: &Value) -> Type {
        Type::of(match value {
            Value::Null => Kinds::MISSING,
            Value::Bool(_) => Kinds::BOOL,
            Value::Int(_) | Value::Float(_) | Value::Number(_) => Kinds::NUMBER,
            Value::Text(_) => Kinds::TEXT,
            Value::List(_) => Kinds::LIST,
            Value::Map(map) => {
                return Type::map(map.0.iter().map(|(name, value)| (name.clone(), Type::constant(value))));
            }
        })
    }

    /// The path of the first thing in a value that this type does not allow, empty for the value itself; `None` if it
    /// allows all of it.
    pub fn refuses(&self, value: &Value) -> Option<Vec<CompactString>> {
        if !Type::constant(value).kinds.within(self.kinds) {
            return Some(Vec::new());
        }
        let Value::Map(map) = value else { return None };
        let within = |name: &CompactString, inside: Option<Vec<CompactString>>| {
            inside.map(|rest| std::iter::once(name.clone()).chain(rest).collect())
        };
        let there = map.0.iter().find_map(|(name, value)| match self.own(name) {
            Some(member) => within(name, member.refuses(value)),
            None => (!self.open).then(|| vec![name.clone()]),
        });
        let needed = |(name, member): &(CompactString, Type)| {
            (map.get(name).is_none() && !member.kinds.meet(Kinds::MISSING)).then(|| vec![name.clone()])
        };
        there.or_else(|| self.members.iter().find_map(needed))
    }

    /// The same, or missing.
    #[must_use]
    pub fn or_missing(mut self) -> Type {
        self.kinds = self.kinds | Kinds::MISSING;
        self
    }

    /// The same, but there.
    #[must_use]
    pub fn if_there(mut self) -> Type {
        self.kinds = self.kinds.without(Kinds::MISSING);
        self
    }

    /// Either of two.
    #[must_use]
    pub fn or(self, other: &Type) -> Type {
        if !other.kinds.meet(Kinds::MAP) {
            return Type { kinds: self.kinds | other.kinds, ..self };
        }
        if !self.kinds.meet(Kinds::MAP) {
            return Type { kinds: self.kinds | other.kinds, ..other.clone() };
        }
        let absent = |open: bool| if open { Type::any() } else { Type::of(Kinds::MISSING) };
        let mut members: Vec<(CompactString, Type)> = Vec::with_capacity(self.members.len());
        for (name, member) in &self.members {
            let there = other.own(name).cloned().unwrap_or_else(|| absent(other.open));
            members.push((name.clone(), member.clone().or(&there)));
        }
        for (name, member) in other.members.iter().filter(|(name, _)| self.own(name).is_none()) {
            members.push((name.clone(), member.clone().or(&absent(self.open))));
        }
        Type { kinds: self.kinds | other.kinds, members, open: self.open || other.open }
    }

    fn own(&self, name: &str) -> Option<&Type> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// The names that a map of this type may have, if all are known.
    pub fn names(&self) -> Option<impl Iterator<Item = &str>> {
        (!self.open && self.kinds.meet(Kinds::MAP)).then(|| self.members.iter().map(|(name, _)| name.as_str()))
    }

    /// What is at a path inside it.
    pub fn at<S: AsRef<str>>(&self, path: &[S]) -> At {
        let (mut here, mut missing) = (self, false);
        for (depth, name) in path.iter().enumerate() {
            if !here.kinds.meet(Kinds::MAP) {
                return At::Never(depth);
            }
            missing |= here.kinds != Kinds::MAP;
            match here.own(name.as_ref()) {
                Some(member) => here = member,
                None if here.open => return At::Value(Type::any()),
                None => return At::Never(depth),
            }
        }
        let found = here.clone();
        At::Value(if missing { found.or_missing() } else { found })
    }

    /// Writes at a path; what stands in the way becomes a map.
    pub fn set<S: AsRef<str>>(&mut self, path: &[S], value: Type) {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !self.kinds.meet(Kinds::MAP) {
            (self.members, self.open) = (Vec::new(), false);
        } else if self.kinds != Kinds::MAP {
            self.members.iter_mut().for_each(|(_, member)| member.kinds = member.kinds | Kinds::MISSING);
        }
        self.kinds = Kinds::MAP;
        let name = first.as_ref();
        if self.own(name).is_none() {
            let before = if self.open { Type::any() } else { Type::of(Kinds::MISSING) };
            self.members.push((name.into(), before));
        }
        if let Some((_, member)) = self.members.iter_mut().find(|(n, _)| n == name) {
            member.set(rest, value);
        }
    }

    /// Takes out what is at a path.
    pub fn remove<S: AsRef<str>>(&mut self, path: &[S]) {
        let Some((first, rest)) = path.split_first() else { return };
        let name = first.as_ref();
        match self.members.iter().position(|(n, _)| n == name) {
            Some(at) if rest.is_empty() && !self.open => drop(self.members.remove(at)),
            Some(at) => {
                if let Some((_, member)) = self.members.get_mut(at) {
                    if rest.is_empty() { *member = Type::of(Kinds::MISSING) } else { member.remove(rest) }
                }
            }
            None if rest.is_empty() && self.open => self.members.push((name.into(), Type::of(Kinds::MISSING))),
            None => {}
        }
    }
}
