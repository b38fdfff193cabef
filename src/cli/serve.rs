//! `millstream serve`: all pipelines of a directory, for months.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::connector::Allowed;
use crate::connectors::tls::ServerTls;
use crate::service::daemon::{Order, Start, serve};
use crate::service::levels::Levels;

use super::exit;
use super::load::{say, shared};
use super::state_path::{DataDirectory, failed};

/// Options of `serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The directory whose `.yaml` files are run.
    #[arg(long, value_name = "DIR", default_value = "pipelines", env = "MILLSTREAM_PIPELINES", hide_env_values = true)]
    pipelines: PathBuf,
    #[command(flatten)]
    data: DataDirectory,
    /// Where the API and the page listen.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7070",
        env = "MILLSTREAM_LISTEN",
        hide_env_values = true
    )]
    listen: String,
    /// Worker threads of each pipeline; the output is the same with any number.
    #[arg(long, value_name = "N", default_value_t = 1, env = "MILLSTREAM_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// A certificate, PEM, with those that vouch for it: the API is encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<String>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<String>,
    /// Others may reach the API without TLS: something before it encrypts.
    #[arg(long)]
    plain: bool,
    /// Programs on this machine need a token too.
    #[arg(long)]
    tokens: bool,
    /// A name by which the API may be asked for, besides addresses and `localhost`; may be given several times.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// A field whose values taps do not show, as `user.email`; may be given several times.
    #[arg(long, value_name = "FIELD")]
    redact: Vec<String>,
    /// A directory that pipelines may reach which are put over the API; may be given several times. Without it they reach no
    /// file. Pipelines whose files stand in `--pipelines` reach what their author writes.
    #[arg(long = "allow-directory", value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// A variable that they may read with `${…}`; `SITE_*` for all that begin so. May be given several times.
    #[arg(long = "allow-variable", value_name = "NAME")]
    variables: Vec<String>,
    /// A host that they may connect to or listen on, perhaps with a port: `broker.lan:1883`, `*.example.org`, `*`. May be
    /// given several times.
    #[arg(long = "allow-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// The keys that the steps of a pipeline may hold; one that holds more fails, and the others go on.
    #[arg(long, value_name = "N")]
    max_keys: Option<u64>,
    /// The memory that what the steps of a pipeline keep may take, roughly: `500MiB`.
    #[arg(long, value_name = "SIZE", value_parser = crate::base::time::parse_size)]
    max_state: Option<u64>,
}

/// Runs until a signal ends it.
pub fn run(args: &Args, log: Arc<dyn Levels>) -> u8 {
    let tls = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(ServerTls { certificate: certificate.clone(), key: key.clone(), client_ca: None })
        }
        _ => None,
    };
    let allowed = match Allowed::new(&args.directories, &args.variables, &args.allowed_hosts) {
        Ok(allowed) => allowed,
        Err(why) => return failed(&why),
    };
    let start = Start {
        allowed,
        directory: args.pipelines.clone(),
        data: args.data.data.clone().filter(|directory| !directory.as_os_str().is_empty()),
        shared: shared().map(std::path::Path::to_owned),
        workers: usize::from(args.workers),
        listen: args.listen.clone(),
        tls,
        plain: args.plain,
        tokens: args.tokens,
        hosts: args.hosts.clone(),
        redact: args.redact.clone(),
        max_keys: args.max_keys,
        max_state: args.max_state,
    };
    let orders = match listen() {
        Ok(orders) => orders,
        Err(why) => return failed(&why),
    };
    let began = |address: &str| say(&format!("millstream serves `{}` at {address}", start.directory.display()));
    match serve(&start, &orders, log, &mut { began }) {
        Ok(true) => exit::OK,
        Ok(false) => exit::FAILED,
        Err(why) => failed(&why),
    }
}

/// SIGTERM and SIGINT end it in good order, a second one at once; SIGHUP reads all files again.
fn listen() -> Result<Receiver<Order>, String> {
    let (sender, orders) = channel();
    let (ready, listening) = channel::<()>();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let spawned = thread.spawn(move || wait(&sender, &ready));
    spawned.map_err(|e| format!("no thread for signals: {e}"))?;
    listening.recv().map_err(|_| "signals cannot be listened for".to_owned())?;
    Ok(orders)
}

fn wait(orders: &Sender<Order>, ready: &Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let of = |kind| signal(kind);
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
            (of(SignalKind::interrupt()), of(SignalKind::terminate()), of(SignalKind::hangup()))
        else {
            return;
        };
        let _ = ready.send(());
        let mut stopping = false;
        loop {
            let order = tokio::select! {
                _ = interrupt.recv() => Order::Stop,
                _ = terminate.recv() => Order::Stop,
                _ = hangup.recv() => Order::Reload,
            };
            if stopping && order == Order::Stop {
                std::process::exit(i32::from(exit::STOPPED));
            }
            stopping |= order == Order::Stop;
            // Nobody listens any more: it ends.
            let _ = orders.send(order);
        }
    });
}
