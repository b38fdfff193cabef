//! The state of a pipeline beside its run: read, and changed where it is.

use crate::cli::exit;
use crate::cli::load::say;
use crate::cli::output::Unread;
use crate::cli::state_path::{Beside, Target, failed};
use crate::service::open::Opened;
use crate::service::states::{self, Checked, Each, StepKept};
use crate::service::why::NoAnswer;

use super::{States, open_to_write};

impl States<Target> for Beside {
    fn steps(&self, of: &Target) -> Result<Vec<StepKept>, u8> {
        let (_, reader) = of.read()?;
        states::steps(&reader, true).map_err(|why| failed(&why))
    }

    fn rows(&self, of: &Target, step: &str, key: Option<&str>, each: Each<'_>) -> Result<(), Unread> {
        let (pipeline, reader) = of.read()?;
        states::has(&reader, &pipeline.plan, step).map_err(|why| match why {
            NoAnswer::Asked(why) => {
                say(&format!("error: {why}"));
                exit::USAGE
            }
            NoAnswer::State(why) => failed(&why),
        })?;
        states::rows(&reader, step, key, each).map_err(Unread::Why)
    }

    fn forget(&self, of: &Target, step: &str, key: &str) -> Result<bool, u8> {
        let (_, path) = of.load()?;
        of.exists(&path)?;
        let Opened { pause: _pause, mut file } = open_to_write(&path, of, "state --delete")?;
        states::forget(&mut file, step, key).map_err(|why| failed(&why))
    }

    fn check(&self, of: &Target) -> Result<Checked, u8> {
        let (_, reader) = of.read()?;
        states::check(&reader).map_err(|why| failed(&why))
    }
}
