//! Where the state of a pipeline is.

use std::path::{Path, PathBuf};

use crate::config::Pipeline;

/// The option that says where states are.
#[derive(clap::Args, Clone, Debug)]
pub struct DataDirectory {
    /// The directory of the state, a file named after the pipeline [default: .millstream beside the pipeline file].
    #[arg(long = "data", value_name = "DIR", env = "MILLSTREAM_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,
}

/// The state database of a pipeline; `data` is what `--data` or `MILLSTREAM_DATA` says.
pub fn state_path(pipeline: &Pipeline, data: Option<&Path>) -> PathBuf {
    // A variable that is set to nothing names no directory.
    let data = data.filter(|directory| !directory.as_os_str().is_empty());
    let directory = data.map_or_else(|| pipeline.directory.join(".millstream"), Path::to_owned);
    directory.join(format!("{}.db", pipeline.plan.name))
}
