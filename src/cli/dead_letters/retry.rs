//! `millstream dead-letters retry`: rows that nobody could take are sent again.

use crate::cli::exit;
use crate::cli::load::print;
use crate::cli::state::open_to_write;
use crate::cli::state_path::{Target, failed};
use crate::service::letters::{Sent, send};
use crate::service::open::Opened;

use super::Which;

/// Options of `dead-letters retry`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    which: Which,
    /// Only the one of this number; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<u64>,
    /// Only say what would come of it.
    #[arg(long)]
    dry_run: bool,
}

/// Sends dead letters again. What a receiver refuses again is a dead letter again, whoever reads the sink's `.errors`.
pub fn run(args: &Args) -> Result<u8, u8> {
    let (pipeline, path) = args.target.load()?;
    args.target.exists(&path)?;
    let Opened { pause: _pause, file } = open_to_write(&path, &args.target, "dead-letters retry")?;
    let mut filter = args.which.filter();
    if !args.ids.is_empty() {
        filter.ids = Some(args.ids.clone());
    }
    let Sent { text, dead } = send(&pipeline, (file, &path), &filter, args.dry_run).map_err(|why| failed(&why))?;
    Ok(match (print(&text), dead) {
        (exit::OK, 1..) => exit::FAILED,
        (code, _) => code,
    })
}
