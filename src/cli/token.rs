//! `millstream token`: who may do what over the API of `serve`.

use std::path::PathBuf;

use crate::service::access::{Role, Tokens};
use crate::service::daemon::own;

use super::exit;
use super::load::print;
use super::state_path::{DataDirectory, failed};
use super::table::{Align, table};

/// Options of `token`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Make a token and show it, this once.
    Add {
        #[command(flatten)]
        place: Place,
        /// Whose it is.
        #[arg(value_name = "NAME")]
        name: String,
        /// What its owner may do: look (`read`), start, stop, silence and retry (`operate`), put and delete pipelines (`admin`).
        #[arg(long, value_parser = role, default_value = "read")]
        role: Role,
    },
    /// Show whose tokens there are.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Take a token away; it is refused from then on.
    Remove {
        #[command(flatten)]
        place: Place,
        /// Whose it is.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Which `serve` they are for.
#[derive(clap::Args, Debug)]
struct Place {
    /// The directory that `serve` runs.
    #[arg(long, value_name = "DIR", default_value = "pipelines", env = "MILLSTREAM_PIPELINES", hide_env_values = true)]
    pipelines: PathBuf,
    #[command(flatten)]
    data: DataDirectory,
}

impl Place {
    fn tokens(&self) -> Tokens {
        let data = self.data.data.as_deref().filter(|directory| !directory.as_os_str().is_empty());
        Tokens::new(&own(&self.pipelines, data))
    }
}

fn role(word: &str) -> Result<Role, String> {
    Role::of_word(word).ok_or_else(|| "a role is `read`, `operate` or `admin`".to_owned())
}

/// Makes, shows and takes away tokens.
pub fn run(args: &Args) -> u8 {
    let done = match &args.verb {
        Verb::Add { place, name, role } => place.tokens().add(name, *role).map(|token| format!("{token}\n")),
        Verb::List { place } => place.tokens().list().map(|tokens| {
            let columns = [("name", Align::Left), ("role", Align::Left), ("made", Align::Left)];
            let row =
                |t: &crate::service::access::Token| vec![t.name.clone(), t.role.word().to_owned(), t.made.clone()];
            table(&columns, &tokens.iter().map(row).collect::<Vec<_>>())
        }),
        Verb::Remove { place, name } => match place.tokens().remove(name) {
            Ok(true) => Ok(format!("the token `{name}` is refused from now on\n")),
            Ok(false) => Err(format!("there is no token `{name}`; `token list` shows them")),
            Err(why) => Err(why),
        },
    };
    match done {
        Ok(text) => print(&text),
        Err(why) => failed(&why).max(exit::FAILED),
    }
}
