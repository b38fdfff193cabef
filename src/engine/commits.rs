//! What sources are told of checkpoints: up to where what they brought is durable in the state. Of each partition only the
//! last word counts, so nothing waits for a source that is slow to hear it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::connector::Place;

use super::job::lock;
use super::partition::PartitionState;

/// What a checkpoint says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It stands here.
    Stands(Place),
    /// It stands here, and its end was taken: there is nothing more to say.
    Ended(Place),
    /// Another has its name now: there is nothing more to say.
    Replaced,
}

#[derive(Debug, Default)]
struct Heard {
    /// By source and name: the number of each partition that is being read.
    numbers: HashMap<usize, HashMap<Arc<str>, usize>>,
    /// What they have not heard yet, by number.
    words: HashMap<usize, Word>,
    /// There will be no more checkpoints.
    over: bool,
}

/// Words on their way to sources.
#[derive(Debug, Default)]
pub(super) struct Commits {
    heard: Mutex<Heard>,
    told: Notify,
}

impl Commits {
    /// A partition of a source is read from now on; one of its name before it is not.
    pub(super) fn enter(&self, source: usize, name: &Arc<str>, number: usize) {
        let mut heard = lock(&self.heard);
        let before = heard.numbers.entry(source).or_default().insert(Arc::clone(name), number);
        if let Some(before) = before.filter(|before| *before != number) {
            heard.words.insert(before, Word::Replaced);
            drop(heard);
            self.told.notify_waiters();
        }
    }

    /// A partition is read no more.
    pub(super) fn leave(&self, source: usize, name: &str, number: usize) {
        let mut heard = lock(&self.heard);
        heard.words.remove(&number);
        if let Some(names) = heard.numbers.get_mut(&source)
            && names.get(name) == Some(&number)
        {
            names.remove(name);
        }
    }

    /// What a checkpoint says of the partitions that are being read, if it becomes durable.
    pub(super) fn words(&self, states: &[PartitionState]) -> Vec<(usize, Word)> {
        let heard = lock(&self.heard);
        let word = |state: &PartitionState| {
            let number = heard.numbers.get(&state.source)?.get(state.name.as_str())?;
            let place = Place { stream: Arc::clone(&state.stream), position: state.position };
            Some((*number, if state.ended { Word::Ended(place) } else { Word::Stands(place) }))
        };
        states.iter().filter_map(word).collect()
    }

    /// A checkpoint is durable.
    pub(super) fn tell(&self, words: Vec<(usize, Word)>) {
        lock(&self.heard).words.extend(words);
        self.told.notify_waiters();
    }

    /// There will be no more checkpoints.
    pub(super) fn close(&self) {
        lock(&self.heard).over = true;
        self.told.notify_waiters();
    }

    /// What a partition has not heard yet.
    pub(super) fn take(&self, number: usize) -> Option<Word> {
        lock(&self.heard).words.remove(&number)
    }

    /// Waits for a word to a partition.
    pub(super) async fn next(&self, number: usize) -> Word {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // From here on nothing that is told is missed.
            told.as_mut().enable();
            if let Some(word) = self.take(number) {
                return word;
            }
            told.await;
        }
    }

    /// Waits until there will be no more checkpoints.
    pub(super) async fn until_over(&self) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if lock(&self.heard).over {
                return;
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;

    fn state(name: &str, position: u64, ended: bool) -> PartitionState {
        let (stream, greatest) = (Arc::from("s"), Timestamp::MIN);
        PartitionState { source: 1, name: name.to_owned(), stream, position, greatest, ended }
    }

    fn at(position: u64) -> Place {
        Place { stream: Arc::from("s"), position }
    }

    #[test]
    fn the_last_word_counts_and_goes_to_who_has_the_name() {
        let commits = Commits::default();
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        commits.enter(1, &a, 0);
        commits.enter(1, &b, 1);
        commits.enter(2, &a, 2);
        for position in [3, 5] {
            commits.tell(commits.words(&[state("a", position, false), state("unknown", 1, false)]));
        }
        assert_eq!(commits.take(0), Some(Word::Stands(at(5))));
        assert_eq!((commits.take(0), commits.take(1), commits.take(2)), (None, None, None));
        // The file came again under its name.
        commits.enter(1, &b, 3);
        assert_eq!(commits.take(1), Some(Word::Replaced));
        commits.leave(1, "b", 1);
        commits.tell(commits.words(&[state("b", 7, true)]));
        assert_eq!(commits.take(3), Some(Word::Ended(at(7))));
        commits.leave(1, "b", 3);
        assert_eq!(commits.words(&[state("b", 7, true)]), []);
    }
}
