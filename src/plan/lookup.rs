//! The settings of a `lookup`: a table beside the stream, how a row finds its row of the table, and what it takes over.

use std::path::PathBuf;

use super::Plan;
use crate::base::time::TimeSpan;
use crate::data::format::Csv;
use crate::data::layout::FieldId;
use crate::expr::Expr;

/// How often a table of a live pipeline is looked at, unless the author says otherwise.
pub const REFRESH: TimeSpan = TimeSpan::seconds(10);

/// A `lookup`.
#[derive(Clone, PartialEq, Debug)]
pub struct Lookup {
    /// Where rows are looked up.
    pub table: Table,
    /// The table as its author named it, for messages: `data/devices.csv`.
    pub named: String,
    /// Columns of the key, or parameters of a query, each with what it must be.
    pub on: Vec<(String, Expr)>,
    /// Fields that are written, each with its column.
    pub fields: Vec<(FieldId, String)>,
    /// What becomes of a row that the table has no row for.
    pub missing: Missing,
    /// When a changed table is noticed.
    pub refresh: Refresh,
}

/// Where rows are looked up.
#[derive(Clone, PartialEq, Debug)]
pub enum Table {
    /// A CSV file, held in memory.
    Csv {
        /// The file, as it is opened.
        path: PathBuf,
        /// How it is read.
        dialect: Csv,
    },
    /// A SQLite database, which is asked.
    Sqlite {
        /// The file, as it is opened.
        path: PathBuf,
        /// What is asked.
        ask: Ask,
    },
}

/// What a database is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A row of this table or view.
    Table(String),
    /// The first row of this query.
    Query(String),
}

/// What becomes of a row that the table has no row for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Missing {
    /// It goes on as it is.
    #[default]
    Keep,
    /// Its fields are set to null.
    Null,
    /// It is dropped.
    Drop,
    /// It cannot be processed.
    Error,
}

/// When a changed table is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Refresh {
    /// In a pipeline that ends by itself never, otherwise within [`REFRESH`].
    #[default]
    Suitable,
    /// Never: the table is read once.
    Never,
    /// Within this time.
    Every(TimeSpan),
}

impl Lookup {
    /// How often the table is looked at in a plan; `None` is never.
    pub fn refreshed(&self, plan: &Plan) -> Option<TimeSpan> {
        match self.refresh {
            Refresh::Never => None,
            Refresh::Every(span) => Some(span),
            Refresh::Suitable => (!plan.is_bounded()).then_some(REFRESH),
        }
    }
}
