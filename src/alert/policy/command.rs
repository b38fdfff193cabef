//! What people say while a pipeline runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::matcher::Matcher;
use crate::base::time::Timestamp;

/// What a person asks for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Nobody is told of what fires and matches.
    Silence {
        /// What its labels must be; all must hold.
        matchers: Vec<Matcher>,
        /// When it ends.
        until: Timestamp,
        /// Why.
        comment: String,
        /// Who says so.
        by: String,
    },
    /// A silence ends now.
    Expire {
        /// As it was named when it was made.
        id: String,
        /// Who says so.
        by: String,
    },
    /// Somebody knows: what fires is not told again until its severity is another one or it is over.
    Acknowledge {
        /// The alert.
        alert: String,
        /// Its key, as an object or, if it has one field, that field's value. `None`: all that match.
        key: Option<Value>,
        /// What its labels must be.
        matchers: Vec<Matcher>,
        /// Who knows.
        by: String,
        /// What there is to say about it.
        comment: String,
        /// When it is told again nevertheless.
        until: Option<Timestamp>,
    },
}
