//! Sink `stdout`: rows on standard output, as lines for programs and as a table for people.

use std::io::{IsTerminal as _, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::io_reason;
use super::table::Table;
use crate::base::diag::Diagnostics;
use crate::base::promise::{Effect, Promise};
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Encoded, End, OpenContext, Prepared, Reach, Sink, SinkConnector, SinkError,
};

/// The sink `stdout`.
pub struct StdoutSink;

/// Writes rows to standard output, at least once: a run that goes on after it was killed writes those again that came
/// after its last checkpoint, for what was read cannot be taken back.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How rows look.
    #[serde(default, rename = "as")]
    pub shape: Shape,
}

/// How rows look on standard output.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A table when a person looks at a terminal, otherwise lines in the sink's format.
    #[default]
    Auto,
    /// Lines in the sink's format, one a row, whole; also on a terminal.
    Json,
    /// Columns with a header. Long values are cut and long fractions shortened; rows are written as they come.
    Table,
}

impl SinkConnector for StdoutSink {
    const NAME: &'static str = "stdout";
    type Options = Options;

    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }

    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}

    fn promise(_: &Options) -> Promise {
        Promise {
            effect: Effect::Repeats,
            why: "prints rows as they come; after a crash those since the last checkpoint are printed again".into(),
            stronger: Some("a `file` shows each row once".into()),
            early: true,
            grows: true,
        }
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        // Other formats are what their author wants to see.
        let table = context.json && (options.shape == Shape::Table || (options.shape == Shape::Auto && terminal));
        let width = terminal.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0));
        let table = table.then(|| Table::new(width));
        Ok(Box::new(Lines { out: stdout, table, header: context.header }))
    }
}

/// A stream that rows are written to.
struct Lines<W> {
    out: W,
    /// Lays rows out for people, if they are to be.
    table: Option<Table>,
    /// What comes before the first row.
    header: Option<Vec<u8>>,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, rows: &Encoded) -> std::io::Result<()> {
        if let Some(header) = self.header.take() {
            self.out.write_all(&header)?;
        }
        match &mut self.table {
            None => self.out.write_all(&rows.text)?,
            Some(table) => self.out.write_all(table.rows(&rows.text, &rows.ends).as_bytes())?,
        }
        self.out.flush()
    }
}

fn failed(error: &std::io::Error) -> SinkError {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => SinkError::Gone,
        _ => SinkError::Fatal(format!("cannot write to standard output: {}", io_reason(error))),
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { self.write(rows).map_err(|e| failed(&e)) })
    }

    fn finish(&mut self, _: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async move {
            self.write(&Encoded::default()).map_err(|e| failed(&e))?;
            Ok(Prepared::default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::{block_on, encoded};

    #[test]
    fn lines_leave_as_they_came_after_one_header() {
        let mut lines = Lines { out: Vec::new(), table: None, header: Some(b"x\n".to_vec()) };
        block_on(lines.deliver(&encoded(&["1", "2"]))).unwrap();
        block_on(lines.deliver(&encoded(&["3"]))).unwrap();
        block_on(lines.finish(End::Complete)).unwrap();
        assert_eq!(lines.out, b"x\n1\n2\n3\n");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut lines = Lines { out: Closed, table: None, header: None };
        assert_eq!(block_on(lines.deliver(&encoded(&["1"]))), Err(SinkError::Gone));
    }
}
