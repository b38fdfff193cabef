//! A CSV file in memory, its rows found by a key. Values are read as a CSV source reads them; a key is found however its
//! numbers are spelled ([`super::Key`]).

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;

use super::identity::Identity;
use super::key::Key;
use crate::base::limit;
use crate::base::suggest::nearest;
use crate::base::system::reason;
use crate::data::batch::Batch;
use crate::data::column::{Column, ColumnBuilder};
use crate::data::csv::{Decoder, Header};
use crate::data::format::{Csv, Format};
use crate::data::framing::{Block, Framer};
use crate::data::layout::{Demand, FieldId, FieldPath, Layout};

/// Which file, how it is read and what of it is wanted.
#[derive(Clone, Debug)]
pub struct CsvSpec {
    /// Where the file is, as it is opened.
    pub path: std::path::PathBuf,
    /// How it is read.
    pub dialect: Csv,
    /// The columns that make the key.
    pub keys: Vec<String>,
    /// The columns whose values are wanted.
    pub fields: Vec<String>,
}

/// A file that was read.
#[derive(Debug)]
pub struct CsvTable {
    columns: Vec<Arc<Column>>,
    index: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    /// The first key that several rows have, as the numbers of two of these rows among the records, from 1. The last counts.
    pub repeated: Option<(usize, usize)>,
    pub(super) identity: Identity,
}

impl CsvTable {
    /// Reads a file. The error says what is wrong with it: "has no column `id`".
    pub fn read(spec: &CsvSpec) -> Result<CsvTable, String> {
        let mut file = File::open(&spec.path).map_err(|e| format!("cannot be opened: {}", reason(&e)))?;
        let identity = Identity::of(&file.metadata().map_err(|e| format!("cannot be read: {}", reason(&e)))?);
        look_at(&header(&spec.path, &spec.dialect)?, spec)?;
        let mut loading = Loading::new(spec);
        let mut framer = Framer::new(&Format::Csv(Box::new(spec.dialect.clone())));
        let mut position = 0;
        loop {
            let mut chunk = Vec::new();
            let wanted = limit::CHUNK_BYTES as u64;
            file.by_ref()
                .take(wanted)
                .read_to_end(&mut chunk)
                .map_err(|e| format!("cannot be read: {}", reason(&e)))?;
            if chunk.is_empty() {
                break;
            }
            let at = position;
            position += chunk.len() as u64;
            if position > limit::TABLE_BYTES {
                let most = limit::TABLE_BYTES >> 20;
                return Err(format!("has more than {most} MiB, which is too much to hold; SQLite holds larger tables"));
            }
            for block in framer.push(chunk, at) {
                loading.add(block)?;
            }
        }
        if let Some(block) = framer.finish() {
            loading.add(block)?;
        }
        Ok(loading.finish(identity))
    }

    /// The number of the row that has a key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.index.get(key).copied()
    }

    /// The values of the wanted columns, in the order they were asked for.
    pub fn columns(&self) -> &[Arc<Column>] {
        &self.columns
    }
}

/// The names in a file's first record, or those of its dialect. The error goes on after the file's name.
pub fn header(path: &Path, dialect: &Csv) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|e| format!("cannot be opened: {}", reason(&e)))?;
    if let Some(columns) = &dialect.columns {
        return Ok(columns.clone());
    }
    let mut bytes = Vec::new();
    let most = limit::CHUNK_BYTES as u64;
    file.take(most).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {}", reason(&e)))?;
    let unmarked = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let (marked, bytes) = (bytes.len() - unmarked.len(), unmarked);
    match crate::data::csv::header(bytes, dialect).0 {
        Header::Names(names) => Ok(names),
        Header::None => Err("is empty; its first record names the columns".to_owned()),
        Header::NotText(byte) => {
            let byte = byte + marked + 1;
            Err(format!("has a header that is not valid UTF-8 at byte {byte}; save it as UTF-8, or name its columns"))
        }
    }
}

/// Whether a header has every wanted column once.
fn look_at(names: &[String], spec: &CsvSpec) -> Result<(), String> {
    for wanted in spec.keys.iter().chain(&spec.fields) {
        match names.iter().filter(|name| *name == wanted).count() {
            0 => {
                let near = nearest(wanted, names.iter().map(String::as_str));
                let near = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
                return Err(format!("has no column `{wanted}`{near}"));
            }
            1 => {}
            _ => return Err(format!("has several columns `{wanted}`")),
        }
    }
    Ok(())
}

/// A file that is being read, block by block.
struct Loading {
    decoder: Decoder,
    keys: Vec<FieldId>,
    fields: Vec<FieldId>,
    builders: Vec<ColumnBuilder>,
    index: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    repeated: Option<(usize, usize)>,
    records: usize,
    rows: u32,
    key: Key,
}

impl Loading {
    fn new(spec: &CsvSpec) -> Loading {
        let mut layout = Layout::default();
        let mut demand = Demand::default();
        let mut ids = |names: &[String]| -> Vec<FieldId> {
            let ids: Vec<FieldId> = names.iter().filter_map(|n| layout.intern(FieldPath::event([n]))).collect();
            ids.iter().for_each(|id| demand.value(*id));
            ids
        };
        let (keys, fields) = (ids(&spec.keys), ids(&spec.fields));
        Loading {
            decoder: Decoder::new(&spec.dialect, &layout, &demand),
            builders: fields.iter().map(|_| ColumnBuilder::default()).collect(),
            keys,
            fields,
            index: HashMap::default(),
            repeated: None,
            records: 0,
            rows: 0,
            key: Key::default(),
        }
    }

    fn add(&mut self, block: Block) -> Result<(), String> {
        if let Some(size) = block.too_long {
            return Err(format!("has a record of {size} bytes: is a quote or a line end missing?"));
        }
        let decoded = self.decoder.decode(block);
        if let Some(refused) = decoded.refused.first() {
            let number = self.records + refused.ordinal as usize + 1;
            return Err(format!("has a broken record, number {number}: {}", refused.reason));
        }
        for row in 0..decoded.batch.rows {
            self.add_row(&decoded.batch, row)?;
        }
        self.records += decoded.records as usize;
        Ok(())
    }

    fn add_row(&mut self, batch: &Batch, row: usize) -> Result<(), String> {
        self.key.clear();
        for field in &self.keys {
            // Values of CSV are numbers, bools, text and null.
            let _ = self.key.push_untyped(batch.get(*field, row));
        }
        for (builder, field) in self.builders.iter_mut().zip(&self.fields) {
            builder.push(batch.get(*field, row));
        }
        if let Some(key) = self.key.found_by() {
            let before = self.index.insert(key.into(), self.rows);
            if let (Some(before), None) = (before, self.repeated) {
                self.repeated = Some((before as usize + 1, self.rows as usize + 1));
            }
        }
        self.rows = self.rows.checked_add(1).ok_or("has too many rows")?;
        Ok(())
    }

    fn finish(self, identity: Identity) -> CsvTable {
        let columns = self.builders.into_iter().map(|builder| Arc::new(builder.finish())).collect();
        CsvTable { columns, index: self.index, repeated: self.repeated, identity }
    }
}
