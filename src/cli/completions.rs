//! `millstream completions`: what a shell needs to complete the command line.

use clap_complete::Shell;

use super::load::print;

/// Options of `completions`.
#[derive(clap::Args, Debug)]
#[command(after_help = "For instance:
  millstream completions bash > ~/.local/share/bash-completion/completions/millstream
  millstream completions fish > ~/.config/fish/completions/millstream.fish")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the completions of `command`.
pub fn run(args: &Args, mut command: clap::Command) -> u8 {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}
