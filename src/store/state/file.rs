//! The one writer of a state database.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::chunk::{Packer, SLICES, slice_of};
use super::content::{self, Content, Kept, Moment, Part};
use super::fault::{StateError, fault};
use super::index::{Due, Index, NewChunk};
use super::letters::{Bounds, Filter, Letter};
use super::lock::{Holder, Lock};
use super::returned::Returned;
use super::schema;
use super::table::Change;
use crate::base::system::make_private_directory;
use crate::store::rows::{
    Commit, HandedRow, Item, LedgerRow, MarkRow, PartitionRow, StateRow, StateRows, Status, StepRow,
};

/// A state database that this process alone writes, until it is dropped.
pub struct StateFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) content: Content,
    packer: Packer,
    bounds: Bounds,
    /// Whether a run that is not complete is gone on with.
    resumes: bool,
    /// Whether one that is complete is, too.
    reopened: bool,
    /// Outlives the connection: fields are dropped in this order.
    lock: Lock,
}

/// What a commit writes.
struct Changes {
    partitions: Change<PartitionRow>,
    steps: Change<StepRow>,
    marks: Change<MarkRow>,
    ledger: Change<LedgerRow>,
    handed: Change<HandedRow>,
    chunks: Vec<NewChunk>,
}

impl StateFile {
    /// Makes or opens the database at `path` (its directory is made), takes the lock, brings an older one up to date and
    /// finds out whether it is what was written.
    pub fn open(path: &Path, holder: &Holder) -> Result<StateFile, StateError> {
        make_directory(path)?;
        let lock = Lock::take(path, holder)?;
        Self::open_locked(path, holder, lock).map_err(|(error, _)| error)
    }

    /// As [`Self::open`], with a lock that this process has already.
    pub fn open_with(path: &Path, holder: &Holder, mut lock: Lock) -> Result<StateFile, StateError> {
        lock.name(holder).map_err(|e| {
            StateError::new(format!("the lock of the state `{}` cannot be written: {e}", path.display()))
        })?;
        Self::open_locked(path, holder, lock).map_err(|(error, _)| error)
    }

    /// Closes the database and keeps the lock.
    pub fn close(self) -> Lock {
        self.lock
    }

    /// As [`Self::open`], for a run that begins anew whatever the last one was: there is none to go on with. A state that
    /// cannot be used is put aside under another name, which comes back, and its dead letters with it.
    pub fn open_fresh(path: &Path, holder: &Holder) -> Result<(StateFile, Option<PathBuf>), StateError> {
        make_directory(path)?;
        let lock = Lock::take(path, holder)?;
        let (mut file, aside) = match Self::open_locked(path, holder, lock) {
            Ok(file) => (file, None),
            Err((error, lock)) if error.useless => {
                let aside = schema::put_aside(path)
                    .map_err(|e| StateError::new(format!("the state `{}` cannot be put aside: {e}", path.display())))?;
                (Self::open_locked(path, holder, lock).map_err(|(error, _)| error)?, Some(aside))
            }
            Err((error, _)) => return Err(error),
        };
        file.resumes = false;
        Ok((file, aside))
    }

    fn open_locked(path: &Path, holder: &Holder, lock: Lock) -> Result<StateFile, (StateError, Lock)> {
        let open = || {
            if !path.exists() {
                schema::make(path, &content::finish)?;
            }
            let connection = schema::open(path)?;
            let mut content = Content::load(&connection, path)?;
            content.kept.pipeline.clone_from(&holder.pipeline);
            content.kept.program = env!("CARGO_PKG_VERSION").to_owned();
            let packer = Packer::new().map_err(|e| unpackable(path, &e))?;
            Ok((connection, content, packer))
        };
        match open() {
            Err(error) => Err((error, lock)),
            Ok((connection, content, packer)) => {
                let (path, bounds) = (path.to_owned(), Bounds::default());
                Ok(StateFile { path, connection, content, packer, bounds, resumes: true, reopened: false, lock })
            }
        }
    }

    /// What the last checkpoint holds; `None` if there is no run to go on with: it is new, or the last run is complete. Of
    /// a run that began and made no checkpoint the epoch is 0.
    pub fn kept(&self) -> Option<&Kept> {
        let goes_on = |kept: &&Kept| kept.can_resume() || (self.reopened && kept.run > 0);
        Some(&self.content.kept).filter(|kept| self.resumes && goes_on(kept))
    }

    /// The last run is gone on with even if it is complete: whether it was.
    pub fn reopen(&mut self) -> bool {
        self.reopened = self.content.kept.status == Status::Complete;
        self.reopened
    }

    /// Where partitions stood when the last run ended, if there is none to go on with.
    pub fn left(&self) -> &[PartitionRow] {
        if self.kept().is_some_and(|kept| kept.epoch > 0) { &[] } else { &self.content.kept.partitions }
    }

    /// A run begins: the rows of the last one go but for `partitions`, dead letters stay, and what came back to
    /// sinks becomes some.
    pub fn begin(&mut self, now: i64, partitions: Vec<PartitionRow>) -> Result<(), StateError> {
        self.unread(&[], now)?;
        let before = &self.content.kept;
        let kept = Kept {
            status: Status::Running,
            epoch: 0,
            run: before.run.saturating_add(1),
            started: now,
            committed: now,
            partitions: Vec::new(),
            steps: Vec::new(),
            marks: Vec::new(),
            ledger: Vec::new(),
            handed: Vec::new(),
            ..before.clone()
        };
        let left = Change::of(&[], partitions.iter(), std::iter::empty());
        let letters = self.content.letters;
        let index = Index::merged_by(self.content.index.merging);
        let (returned, sum) = (Returned::default(), letters.digest().wrapping_add(left.sum));
        let mut content = Content { kept, index, letters, returned, sum };
        self.write(|connection| {
            for table in ["partition", "step", "chunk", "mark", "ledger", "handed"] {
                connection.execute_batch(&format!("DELETE FROM {table}"))?;
            }
            left.write(connection)?;
            content.kept.write(connection, content.kept.moment(), content.sum)
        })?;
        left.apply(&mut content.kept.partitions);
        self.content = content;
        self.resumes = true;
        Ok(())
    }

    /// Hands out the rows of a step whose key group is in `groups`, each key once, in the order of their hashes; the value
    /// of a key that is gone is `None`.
    pub fn rows(
        &self,
        step: &str,
        groups: Range<u64>,
        each: &mut dyn FnMut(Item<'_>) -> Result<(), String>,
    ) -> Result<(), StateError> {
        self.content.rows(&self.connection, &self.path, step, groups, each)
    }

    /// How many rows a step has at most: those of several chunks count several times.
    pub fn size(&self, step: &str) -> u64 {
        self.content.index.rows(step)
    }

    /// As [`Self::rows`], for another thread to read.
    pub fn part(&self, step: &str, groups: Range<u64>) -> Result<Part, StateError> {
        self.content.part(&self.connection, &self.path, step, groups)
    }

    /// Writes a checkpoint in one transaction. An error leaves the database as it was; the caller stops the run.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), StateError> {
        let changes = self.changes(commit)?;
        let content = &self.content;
        let (mut letters, mut returned) = (content.letters, content.returned.clone());
        let sent_again = match commit.sent_again.as_slice() {
            [] => Vec::new(),
            ids => {
                let filter = Filter { ids: Some(ids.to_vec()), ..Filter::default() };
                letters.find(&self.connection, &self.path, &filter)?
            }
        };
        let (run, epoch) = (content.kept.run, content.kept.epoch.saturating_add(1));
        let bounds = self.bounds;
        let of_chunks = changes.chunks.iter().fold(0u128, |sum, chunk| sum.wrapping_add(chunk.digest()));
        let of_ledger = changes.ledger.sum.wrapping_add(changes.handed.sum);
        let sums = [changes.partitions.sum, changes.steps.sum, changes.marks.sum, of_ledger, of_chunks];
        let sum = sums.into_iter().fold(content.sum, u128::wrapping_add);
        let sum = sum.wrapping_sub(letters.digest()).wrapping_sub(returned.sum);
        let moment = Moment { status: commit.status, epoch, committed: commit.now, ..content.kept.moment() };
        let sum = self.write(|connection| {
            changes.partitions.write(connection)?;
            changes.steps.write(connection)?;
            changes.marks.write(connection)?;
            changes.ledger.write(connection)?;
            changes.handed.write(connection)?;
            changes.chunks.iter().try_for_each(|chunk| chunk.write(connection))?;
            letters.remove(connection, &sent_again)?;
            letters.add(connection, &commit.dead_letters, (run, epoch, commit.now))?;
            letters.bound(connection, commit.now, bounds)?;
            if letters != content.letters {
                letters.write(connection)?;
            }
            commit.taken_in.iter().try_for_each(|(sink, before)| returned.take_in(connection, sink, *before))?;
            returned.add(connection, &commit.returned)?;
            let sum = sum.wrapping_add(letters.digest()).wrapping_add(returned.sum);
            content.kept.write(connection, moment, sum)?;
            Ok(sum)
        })?;
        let content = &mut self.content;
        (content.letters, content.returned, content.sum) = (letters, returned, sum);
        changes.chunks.iter().for_each(|chunk| content.index.add(&chunk.step, chunk.slice, chunk.meta));
        let before = &mut content.kept;
        changes.partitions.apply(&mut before.partitions);
        changes.steps.apply(&mut before.steps);
        changes.marks.apply(&mut before.marks);
        changes.ledger.apply(&mut before.ledger);
        changes.handed.apply(&mut before.handed);
        (before.status, before.epoch, before.committed) = (moment.status, moment.epoch, moment.committed);
        Ok(())
    }

    fn changes(&mut self, commit: &Commit) -> Result<Changes, StateError> {
        let kept = &self.content.kept;
        let gone = commit.gone.iter().map(|(source, name)| (source.as_str(), name.as_str()));
        // Of one mark the last counts, also where it is forgotten.
        let last: BTreeMap<_, _> = commit.marks.iter().map(|(sink, key, value)| ((sink, key), value)).collect();
        let mark = |(sink, key): (&String, &String), value: &String| MarkRow {
            sink: sink.clone(),
            key: key.clone(),
            value: value.clone(),
        };
        let marks: Vec<MarkRow> = last.iter().filter_map(|(key, value)| Some(mark(*key, value.as_ref()?))).collect();
        let forgotten = last.iter().filter(|(_, value)| value.is_none());
        let forgotten = forgotten.map(|((sink, key), _)| (sink.as_str(), key.as_str()));
        let (partitions, steps) = (&kept.partitions, &kept.steps);
        let mut changes = Changes {
            partitions: Change::of(partitions, commit.partitions.iter(), gone),
            steps: Change::of(steps, commit.steps.iter(), std::iter::empty()),
            marks: Change::of(&kept.marks, marks.iter(), forgotten),
            ledger: Change::of(&kept.ledger, commit.ledger.iter(), std::iter::empty()),
            handed: Change::of(&kept.handed, commit.handed.iter(), std::iter::empty()),
            chunks: Vec::new(),
        };
        let (mut id, epoch) = (self.content.index.next_id(), kept.epoch.saturating_add(1));
        for (step, rows) in &commit.changes {
            let wrong = |e: std::io::Error| unpackable(&self.path, &e);
            pack(&mut self.packer, step, rows, epoch, &mut id, &mut changes.chunks).map_err(wrong)?;
        }
        Ok(changes)
    }

    /// Merges what changed into bases until `budget` is over, at least one slice; true if there is more to do. Called
    /// between commits, away from where rows flow.
    pub fn compact(&mut self, budget: Duration) -> Result<bool, StateError> {
        let due = self.content.index.due();
        if due.is_empty() {
            return Ok(false);
        }
        let began = Instant::now();
        let mut merged: Vec<(&Due, Option<NewChunk>)> = Vec::new();
        for what in &due {
            let id = self.content.index.next_id().saturating_add(merged.len() as i64);
            merged.push((what, self.merged(what, id)?));
            if began.elapsed() >= budget {
                break;
            }
        }
        let more = merged.len() < due.len();
        // What is merged says nothing new: if it is lost, what it was made of is still there. The next commit syncs both.
        let sync = |level: &str| self.connection.execute_batch(&format!("PRAGMA synchronous = {level}"));
        sync("NORMAL").map_err(|e| fault(&self.path, &e))?;
        let mut sum = self.content.sum;
        for (what, chunk) in &merged {
            let new = chunk.as_ref().map_or(0, NewChunk::digest);
            sum = sum.wrapping_add(new).wrapping_sub(self.content.index.sum_of(what));
        }
        let written = self.write(|connection| {
            for (what, chunk) in &merged {
                for meta in self.content.index.of_due(what) {
                    connection.prepare_cached("DELETE FROM chunk WHERE id = ?1")?.execute([meta.id])?;
                }
                chunk.iter().try_for_each(|chunk| chunk.write(connection))?;
            }
            self.content.kept.write(connection, self.content.kept.moment(), sum)
        });
        sync("FULL").map_err(|e| fault(&self.path, &e))?;
        written?;
        self.content.sum = sum;
        for (what, chunk) in merged {
            self.content.index.replace(what, chunk.map(|chunk| chunk.meta));
        }
        Ok(more)
    }

    /// The chunk that holds what those hold that are to be merged; none if all their keys are gone.
    fn merged(&mut self, due: &Due, id: i64) -> Result<Option<NewChunk>, StateError> {
        let packer = &mut self.packer;
        packer.clear();
        // Of a key that is gone nothing is left once there is no chunk before that may have it.
        let base = due.from == 0;
        self.content.merge(&self.connection, &self.path, due, &mut |item| {
            if item.value.is_some() || !base {
                packer.push(item);
            }
            Ok(())
        })?;
        if packer.is_empty() {
            return Ok(None);
        }
        let packed = packer.finish().map_err(|e| unpackable(&self.path, &e))?;
        let epoch = self.content.index.of_due(due).last().map_or(0, |meta| meta.epoch);
        Ok(Some(NewChunk::of(&due.step, due.slice, id, epoch, base, packed)))
    }

    /// Hands out the dead letters of a filter, the oldest first.
    pub fn each_letter(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Letter) -> Result<(), String>,
    ) -> Result<(), StateError> {
        let page = (filter, 0, usize::MAX);
        super::letters::list(&self.connection, &self.path, &self.content.letters, page, each)
    }

    /// Forgets what a step keeps, and the step.
    pub fn reset_step(&mut self, step: &str) -> Result<(), StateError> {
        let content = &self.content;
        let change = Change::<StepRow>::of(&content.kept.steps, std::iter::empty(), std::iter::once((step, "")));
        let chunks = (0..SLICES).map(|slice| content.index.sum_of(&Due::all(step, slice)));
        let sum = chunks.fold(content.sum.wrapping_add(change.sum), u128::wrapping_sub);
        self.write(|connection| {
            connection.execute("DELETE FROM chunk WHERE step = ?1", [step])?;
            change.write(connection)?;
            content.kept.write(connection, content.kept.moment(), sum)
        })?;
        self.content.sum = sum;
        self.content.index.forget(step);
        change.apply(&mut self.content.kept.steps);
        Ok(())
    }

    /// Forgets what a sink remembers: rows that it had still to send are gone.
    pub fn reset_sink(&mut self, sink: &str) -> Result<(), StateError> {
        let content = &self.content;
        let remembered = content.kept.marks.iter().filter(|mark| mark.sink == sink);
        let forgotten: Vec<(String, String)> = remembered.map(|mark| (mark.sink.clone(), mark.key.clone())).collect();
        let forgotten = forgotten.iter().map(|(sink, key)| (sink.as_str(), key.as_str()));
        let change = Change::<MarkRow>::of(&content.kept.marks, std::iter::empty(), forgotten);
        let sum = content.sum.wrapping_add(change.sum);
        self.write(|connection| {
            change.write(connection)?;
            content.kept.write(connection, content.kept.moment(), sum)
        })?;
        self.content.sum = sum;
        change.apply(&mut self.content.kept.marks);
        Ok(())
    }

    /// Forgets keys of a step, in the checkpoint that was made last. Of a run that stands still only.
    pub fn forget(&mut self, step: &str, keys: &[(u64, Vec<u8>)]) -> Result<(), StateError> {
        let gone = |(hash, key): &(u64, Vec<u8>)| StateRow { hash: *hash, key: key.clone(), value: None };
        self.put(step, &keys.iter().map(gone).collect())
    }

    /// Adds rows to what a step keeps, in the checkpoint that was made last; without a value a key is gone. Of a run that
    /// stands still only.
    pub fn put(&mut self, step: &str, rows: &StateRows) -> Result<(), StateError> {
        let (mut id, mut chunks) = (self.content.index.next_id(), Vec::new());
        let packed = pack(&mut self.packer, step, rows, self.content.kept.epoch, &mut id, &mut chunks);
        packed.map_err(|e| unpackable(&self.path, &e))?;
        let sum = chunks.iter().fold(self.content.sum, |sum, chunk| sum.wrapping_add(chunk.digest()));
        self.write(|connection| {
            chunks.iter().try_for_each(|chunk| chunk.write(connection))?;
            self.content.kept.write(connection, self.content.kept.moment(), sum)
        })?;
        self.content.sum = sum;
        chunks.iter().for_each(|chunk| self.content.index.add(&chunk.step, chunk.slice, chunk.meta));
        Ok(())
    }

    /// Takes dead letters away: how many. Their room is given back to the disk.
    pub fn purge(&mut self, filter: &Filter) -> Result<u64, StateError> {
        let content = &self.content;
        let mut letters = content.letters;
        let wrong = |e: rusqlite::Error| fault(&self.path, &e);
        let transaction = begin(&self.connection).map_err(wrong)?;
        let purged = letters.purge(&transaction, &self.path, filter)?;
        let sum = content.sum.wrapping_sub(content.letters.digest()).wrapping_add(letters.digest());
        letters
            .write(&transaction)
            .and_then(|()| content.kept.write(&transaction, content.kept.moment(), sum))
            .map_err(wrong)?;
        transaction.commit().map_err(wrong)?;
        (self.content.letters, self.content.sum) = (letters, sum);
        if purged > 0 {
            self.connection.execute_batch("VACUUM").map_err(|e| fault(&self.path, &e))?;
        }
        Ok(purged)
    }

    /// Bounds of the dead letters other than the default ones.
    #[cfg(test)]
    pub(super) fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// When chunks are merged, other than by default.
    #[cfg(test)]
    pub(super) fn merging(&mut self, merging: super::index::Merging) {
        self.content.index.merging = merging;
    }

    /// The database itself, for tests that do to it what others may.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What `write` does, in one transaction.
    pub(super) fn write<T>(&self, write: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        let all = || {
            let transaction = begin(&self.connection)?;
            let made = write(&transaction)?;
            transaction.commit()?;
            Ok(made)
        };
        all().map_err(|e| fault(&self.path, &e))
    }
}

fn make_directory(path: &Path) -> Result<(), StateError> {
    if let Some(directory) = path.parent() {
        make_private_directory(directory).map_err(|e| {
            let directory = directory.display();
            StateError::new(format!(
                "the directory `{directory}` for the state cannot be made: {e}; name another with `--data`"
            ))
        })?;
    }
    Ok(())
}

/// A transaction that is undone unless it is committed.
fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
}

/// The chunks of the rows of a step that changed, one a slice, whose ids begin with `id`.
fn pack(
    packer: &mut Packer,
    step: &str,
    rows: &StateRows,
    epoch: u64,
    id: &mut i64,
    into: &mut Vec<NewChunk>,
) -> std::io::Result<()> {
    // Hashes beside the places of their rows: comparing them does not go to where the rows are.
    let mut order: Vec<(u64, (u32, u32))> =
        rows.places().map(|at| (rows.get(at).map_or(0, |row| row.hash), at)).collect();
    let key = |at: (u32, u32)| rows.get(at).map_or(&[][..], |row| row.key);
    // Rows of one key stay in the order they came.
    order.sort_unstable_by(|(a, i), (b, j)| a.cmp(b).then_with(|| key(*i).cmp(key(*j))).then(i.cmp(j)));
    let mut pending = order.iter().peekable();
    packer.clear();
    while let Some((hash, at)) = pending.next() {
        let next = pending.peek();
        let repeated = next.is_some_and(|(other, place)| other == hash && key(*place) == key(*at));
        if let Some(row) = rows.get(*at).filter(|_| !repeated) {
            packer.push(row);
        }
        if next.is_none_or(|(other, _)| slice_of(*other) != slice_of(*hash)) {
            into.push(NewChunk::of(step, slice_of(*hash), *id, epoch, false, packer.finish()?));
            *id += 1;
        }
    }
    Ok(())
}

fn unpackable(path: &Path, error: &std::io::Error) -> StateError {
    StateError::new(format!("the state `{}` cannot be packed: {error}", path.display()))
}
