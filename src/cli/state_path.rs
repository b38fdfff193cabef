//! Where the state of a pipeline is, and opening it for a verb.

use std::path::{Path, PathBuf};

use crate::base::diag::Severity;
use crate::config::Pipeline;
use crate::service::open::state_path;
use crate::store::state::StateReader;

use super::exit;
use super::load::{load, say};

/// The option that says where states are.
#[derive(clap::Args, Clone, Debug)]
pub struct DataDirectory {
    /// The directory of the state, a file named after the pipeline; the pipeline file's `state:` goes before it [default:
    /// .millstream beside the pipeline file].
    #[arg(long = "data", value_name = "DIR", env = "MILLSTREAM_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,
}

/// The pipeline whose state a verb is about.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where its state is.
    #[command(flatten)]
    pub data: DataDirectory,
}

/// The state of a pipeline is read and changed where it is, beside whatever runs it.
pub struct Beside;

impl Target {
    /// The pipeline and where its state is. What is wrong with the file was said; the error is the exit code.
    pub fn load(&self) -> Result<(Pipeline, PathBuf), u8> {
        let pipeline = load(&self.file, Severity::Warning).ok_or(exit::USAGE)?;
        let path = state_path(&pipeline, self.data.data.as_deref());
        Ok((pipeline, path))
    }

    /// The pipeline, and its state opened for reading. That there is none is said as an error.
    pub fn read(&self) -> Result<(Pipeline, StateReader), u8> {
        let (pipeline, path) = self.load()?;
        self.exists(&path)?;
        let reader = StateReader::open(&path).map_err(|e| failed(&e.message))?;
        Ok((pipeline, reader))
    }

    /// Whether there is a state; that there is none is said.
    pub fn exists(&self, path: &Path) -> Result<(), u8> {
        match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(&format!(
                "`{}` has no state: there is no `{}`; it comes with the first `run`, or name its directory with `--data`",
                self.file.display(),
                path.display()
            ))),
            Err(e) => Err(failed(&format!("the state `{}` cannot be opened: {e}", path.display()))),
        }
    }
}

/// Says that a verb failed: its exit code.
pub fn failed(why: &str) -> u8 {
    say(&format!("error: {why}"));
    exit::FAILED
}
