//! What the reference is made of.

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// A key of the file or of an entry in it.
    Key,
    /// Where events come from.
    Source,
    /// What happens to them.
    Step,
    /// Where rows go.
    Sink,
    /// The shape of a window.
    Window,
    /// What windows compute.
    Aggregate,
    /// What expressions and scripts call.
    Function,
    /// How records are read and written.
    Format,
    /// Plain values that options take.
    Value,
    /// What the process's exit code means.
    Exit,
}

impl Family {
    /// Every one, in the order in which they are listed.
    pub const ALL: [Family; 10] = [
        Family::Key,
        Family::Source,
        Family::Step,
        Family::Window,
        Family::Aggregate,
        Family::Function,
        Family::Sink,
        Family::Format,
        Family::Value,
        Family::Exit,
    ];

    /// What one is called.
    pub fn noun(self) -> &'static str {
        match self {
            Family::Key => "key",
            Family::Source => "source",
            Family::Step => "step",
            Family::Sink => "sink",
            Family::Window => "window",
            Family::Aggregate => "aggregate",
            Family::Function => "function",
            Family::Format => "format",
            Family::Value => "value",
            Family::Exit => "exit code",
        }
    }

    /// The name of its page, which also asks for all of it.
    pub fn page(self) -> &'static str {
        match self {
            Family::Key => "keys",
            Family::Source => "sources",
            Family::Step => "steps",
            Family::Sink => "sinks",
            Family::Window => "windows",
            Family::Aggregate => "aggregates",
            Family::Function => "functions",
            Family::Format => "formats",
            Family::Value => "values",
            Family::Exit => "exit-codes",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Family::Key => "Keys",
            Family::Source => "Sources",
            Family::Step => "Steps",
            Family::Sink => "Sinks",
            Family::Window => "Windows",
            Family::Aggregate => "Aggregates",
            Family::Function => "Functions",
            Family::Format => "Formats",
            Family::Value => "Values",
            Family::Exit => "Exit codes",
        }
    }

    /// What the family is, in a sentence or two.
    pub fn about(self) -> &'static str {
        match self {
            Family::Key => {
                "The keys of a pipeline file, and those that stand beside the kind of a source, a step or a sink."
            }
            Family::Source => "Where events come from: the kinds of an entry under `sources`.",
            Family::Step => "What happens to events: the kinds of an entry under `steps`.",
            Family::Sink => "Where rows go: the kinds of an entry under `sinks`.",
            Family::Window => {
                "The shapes of windows: a step `window` has one of them, beside the keys that all shapes share."
            }
            Family::Aggregate => {
                "What windows compute, under `aggregate`. Null and missing values are passed over; with no value left the \
                 result is null, that of a count 0."
            }
            Family::Function => {
                "What expressions and scripts call. All are deterministic and change nothing that they are called on; \
                 `x.trim()` and `trim(x)` are the same."
            }
            Family::Format => "How records are read and written: the value of `format` of a source or a sink.",
            Family::Value => "Kinds of values that options take, beside text, numbers, bools, lists and maps.",
            Family::Exit => "What the exit code of a command means.",
        }
    }
}

/// One thing that the reference knows.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub family: Family,
    /// A part of its family, where that has parts: `text`.
    pub group: String,
    /// What it is called.
    pub name: String,
    /// How it is written, where that is more than the name: `round(x, digits?)`.
    pub usage: Option<String>,
    /// What it is or does.
    pub about: String,
    /// More that there is to say, with what it is of.
    pub facts: Vec<(&'static str, String)>,
    /// Its options, under headings.
    pub sections: Vec<(&'static str, Vec<Choice>)>,
}

impl Entry {
    /// An entry of which only the name and a text are known.
    pub fn new(family: Family, name: impl Into<String>, about: impl Into<String>) -> Self {
        Entry {
            family,
            group: String::new(),
            name: name.into(),
            usage: None,
            about: about.into(),
            facts: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// How it is written.
    pub fn usage(&self) -> &str {
        self.usage.as_deref().unwrap_or(&self.name)
    }

    /// The first sentence of what it is.
    pub fn summary(&self) -> &str {
        let end = self.about.find(". ").map_or(self.about.len(), |at| at + 1);
        self.about.get(..end).unwrap_or_default()
    }
}

/// A text as code, whatever it holds.
pub fn code(text: &str) -> String {
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// An option, or one of the words that a value may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// The key, or the word.
    pub name: String,
    /// What kind of value it takes; nothing for a word.
    pub kind: String,
    /// Whether it has to be there.
    pub needed: bool,
    /// What it is or does.
    pub about: String,
    /// What stands for it where it is left out.
    pub default: Option<String>,
    /// A value.
    pub example: Option<String>,
    /// Words that the value may be, or the keys inside it.
    pub inner: Vec<Choice>,
}
