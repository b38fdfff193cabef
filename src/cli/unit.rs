//! `millstream unit`: a systemd unit for a daemon.

use super::load::print;

/// Options of `unit`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the program is.
    #[arg(long, value_name = "PATH", default_value = "/usr/local/bin/millstream")]
    program: String,
    /// The directory of the pipelines.
    #[arg(long, value_name = "DIR", default_value = "/etc/millstream/pipelines")]
    pipelines: String,
}

/// Prints the unit.
pub fn run(args: &Args) -> u8 {
    let unit = include_str!("unit/millstream.service");
    print(&unit.replace("@program@", &quoted(&args.program)).replace("@pipelines@", &quoted(&args.pipelines)))
}

/// A word of a command line as systemd reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => {
            let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
            format!("\"{}\"", escaped.replace('\n', "\\n"))
        }
    }
}
