//! A CSV table that follows its file: read again when the file has changed, kept as it was when the new one cannot be used.
//! Whoever asks gets one whole table and keeps it as long as it likes; nothing is locked while rows are looked up.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;

use super::csv_table::{CsvSpec, CsvTable};
use super::identity::Identity;
use crate::base::time::TimeSpan;

/// Warnings that are kept until somebody takes them.
const WARNINGS: usize = 16;

/// A table and what is known of its file.
#[derive(Debug)]
pub struct Followed {
    spec: CsvSpec,
    /// How often the file is looked at; `None` is never.
    refresh: Option<TimeSpan>,
    table: RwLock<Arc<CsvTable>>,
    watch: Mutex<Watch>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Watch {
    looked: Instant,
    /// The file as it was when it was last read, also in vain.
    seen: Option<Identity>,
}

/// A lock whose holder panicked still guards whole values here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Followed {
    /// Reads a table. The error goes on after the file's name.
    pub fn open(spec: CsvSpec, refresh: Option<TimeSpan>) -> Result<Followed, String> {
        let table = CsvTable::read(&spec)?;
        let watch = Watch { looked: Instant::now(), seen: Some(table.identity) };
        Ok(Followed {
            spec,
            refresh,
            table: RwLock::new(Arc::new(table)),
            watch: Mutex::new(watch),
            warnings: Mutex::default(),
        })
    }

    /// The table as it is now: the file is looked at if that is due. One caller at a time reads it; others go on with the
    /// table that there is.
    pub fn now(&self) -> Arc<CsvTable> {
        if let Some(refresh) = self.refresh
            && let Ok(mut watch) = self.watch.try_lock()
            && watch.looked.elapsed() >= refresh.to_std()
        {
            self.look(&mut watch);
            watch.looked = Instant::now();
        }
        Arc::clone(&self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn look(&self, watch: &mut Watch) {
        let there = Identity::at(&self.spec.path);
        if there == watch.seen {
            return;
        }
        let read = CsvTable::read(&self.spec);
        // A file that was written to meanwhile may have been read in part: the next look sees it whole.
        if Identity::at(&self.spec.path) != there {
            return;
        }
        watch.seen = there;
        match read {
            Ok(table) => *self.table.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(table),
            Err(why) => {
                let mut warnings = lock(&self.warnings);
                if warnings.len() < WARNINGS {
                    warnings.push(format!("changed and {why}; the table read before stays in use"));
                }
            }
        }
    }

    /// What was found wrong since this was last asked; each goes on after the file's name.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.warnings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Csv;

    fn spec(path: &std::path::Path) -> CsvSpec {
        let dialect = Csv { infer: true, ..Csv::PLAIN };
        CsvSpec { path: path.into(), dialect, keys: vec!["id".into()], fields: vec!["name".into()] }
    }

    fn name(table: &CsvTable, id: i64) -> Option<String> {
        let mut key = super::super::Key::default();
        key.push_untyped(crate::data::value::Val::Int(id)).unwrap();
        let row = table.find(key.found_by()?)?;
        Some(format!("{:?}", table.columns()[0].get(row as usize)))
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.csv");
        std::fs::write(&path, "id,name\n1,a\n2,b\n").unwrap();
        let followed = Followed::open(spec(&path), Some(TimeSpan::ZERO)).unwrap();
        let before = followed.now();
        assert_eq!(name(&before, 2).as_deref(), Some("Text(\"b\")"));
        // Written beside and renamed, as a careful writer does, and longer: it is another file by every sign.
        let replace = |text: &str| {
            let beside = directory.path().join("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, &path).unwrap();
        };
        replace("id,name\n1,a\n2,bee\n3,c\n");
        assert_eq!(name(&followed.now(), 2).as_deref(), Some("Text(\"bee\")"));
        assert_eq!(name(&before, 2).as_deref(), Some("Text(\"b\")"));
        assert_eq!(followed.take_warnings(), Vec::<String>::new());
        replace("id,nam\n1,a\n");
        assert_eq!(name(&followed.now(), 3).as_deref(), Some("Text(\"c\")"));
        followed.now();
        let warnings = followed.take_warnings();
        let said = "changed and has no column `name`; did you mean `nam`?; the table read before stays in use";
        assert_eq!(warnings, [said]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(name(&followed.now(), 3).as_deref(), Some("Text(\"c\")"));
        assert_eq!(followed.take_warnings().len(), 1);
        replace("id,name\n4,d\n");
        assert_eq!(name(&followed.now(), 3), None);
        assert_eq!(name(&followed.now(), 4).as_deref(), Some("Text(\"d\")"));
    }

    #[test]
    fn tables_say_what_is_wrong_with_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            CsvTable::read(&spec(&path)).map(|t| t.repeated)
        };
        assert_eq!(read("\u{feff}id,name\n1,a\n,b\n1.0,c\n"), Ok(Some((1, 3))));
        assert_eq!(read("id,name\n"), Ok(None));
        assert_eq!(read(""), Err("is empty; its first record names the columns".into()));
        assert_eq!(read("id,id,name\n"), Err("has several columns `id`".into()));
        let broken = "has a broken record, number 2: the record has 1 field, the header 2";
        assert_eq!(read("id,name\n1,a\n2\n"), Err(broken.into()));
    }
}
