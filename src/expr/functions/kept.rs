//! What a function makes of an argument that is mostly a constant (a pattern, a zone), kept so that it is made once
//! and not for each row.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::limit;

/// What a thread has made of texts, the last used first. A text that comes with the rows pushes others out.
pub(super) struct Kept<T> {
    entries: RefCell<Vec<(Box<str>, Rc<T>)>>,
}

impl<T> Kept<T> {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Kept { entries: RefCell::new(Vec::new()) }
    }

    /// What was made of a text, or is made of it now. A text that will not do is not kept.
    pub(super) fn get(&self, text: &str, make: fn(&str) -> Result<T, String>) -> Result<Rc<T>, String> {
        let mut entries = self.entries.borrow_mut();
        let entry = match entries.iter().position(|(of, _)| **of == *text) {
            Some(0) => None,
            Some(at) => Some(entries.remove(at)),
            None => Some((text.into(), Rc::new(make(text)?))),
        };
        if let Some(entry) = entry {
            entries.insert(0, entry);
            entries.truncate(limit::KEPT_PATTERNS);
        }
        entries.first().map(|(_, made)| Rc::clone(made)).ok_or_else(String::new)
    }
}
