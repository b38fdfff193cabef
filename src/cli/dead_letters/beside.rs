//! Dead letters beside a run: read from its state, and changed in it.

use crate::cli::output::Unread;
use crate::cli::state::open_to_write;
use crate::cli::state_path::{Beside, Target, failed};
use crate::service::letters::{Sent, send};
use crate::service::open::Opened;
use crate::store::state::Filter;

use super::{Each, Letters, Rest};

impl Letters<Target> for Beside {
    fn each(&self, of: &Target, filter: &Filter, (after, most): (u64, usize), each: Each<'_>) -> Result<Rest, Unread> {
        let (_, reader) = of.read()?;
        let (mut found, mut more) = (0, false);
        // One more than is wanted says whether there are more.
        let read = reader.each_letter(filter, after, most.saturating_add(1), &mut |letter| {
            more = found == most;
            found += 1;
            if more { Ok(()) } else { each(letter) }
        });
        read.map_err(|e| Unread::Why(e.message))?;
        Ok(Rest { more, let_go: reader.letters().let_go })
    }

    fn purge(&self, of: &Target, filter: &Filter, dry: bool) -> Result<u64, u8> {
        if dry {
            let (_, reader) = of.read()?;
            return reader.count_letters(filter).map_err(|e| failed(&e.message));
        }
        let (_, path) = of.load()?;
        of.exists(&path)?;
        let Opened { pause: _pause, mut file } = open_to_write(&path, of, "dead-letters purge")?;
        file.purge(filter).map_err(|e| failed(&e.message))
    }

    fn retry(&self, of: &Target, filter: &Filter, dry: bool) -> Result<Sent, u8> {
        let (pipeline, path) = of.load()?;
        of.exists(&path)?;
        let Opened { pause: _pause, file } = open_to_write(&path, of, "dead-letters retry")?;
        send(&pipeline, (file, &path), filter, dry).map_err(|why| failed(&why))
    }
}
