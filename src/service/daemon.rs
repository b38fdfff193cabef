//! The process that runs many pipelines for months: looks at their files, answers requests, and ends in good order.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use sd_notify::NotifyState;

use crate::base::system::{make_private_directory, reason};
use crate::connector::Allowed;
use crate::connectors::http_listen::{Address, Listening, address_of};
use crate::connectors::tls::ServerTls;
use crate::engine::observed::EntryCounts;
use crate::plan::{NodeKind, Plan};

use super::access::Tokens;
use super::api::{Door, Service, router};
use super::audit::Audit;
use super::levels::{Levels, Rows};
use super::own::Telling;
use super::pipelines::{LOOK_EVERY, Pipelines, Place, STOP_WITHIN};
use super::rates::Rates;
use super::supervised::{Settings, warn};

/// Connections to the interface at a time.
const CONNECTIONS: u32 = 256;

/// How the process is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The directory of pipeline files.
    pub directory: PathBuf,
    /// Where states are, if not beside the pipelines.
    pub data: Option<PathBuf>,
    /// A file of receivers that pipelines share.
    pub shared: Option<PathBuf>,
    /// Worker threads of each pipeline.
    pub workers: usize,
    /// Where the interface listens.
    pub listen: String,
    /// Its certificate and key.
    pub tls: Option<ServerTls>,
    /// Whether it may listen on an address of others without TLS.
    pub plain: bool,
    /// Whether programs on this machine need a token too.
    pub tokens: bool,
    /// Names by which it may be asked for.
    pub hosts: Vec<String>,
    /// Fields whose values no tap shows.
    pub redact: Vec<String>,
    /// What pipelines may reach that come over the API.
    pub allowed: Allowed,
    /// The keys that a pipeline may hold.
    pub max_keys: Option<u64>,
    /// The bytes that what it keeps may take.
    pub max_state: Option<u64>,
}

/// What the process is told while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read all files again.
    Reload,
    /// End.
    Stop,
}

impl Start {
    /// What the process keeps of its own.
    pub fn own(&self) -> PathBuf {
        own(&self.directory, self.data.as_deref())
    }

    /// Whether pipelines that come over the API could change those of the operator, or what the process keeps.
    fn keeps_apart(&self) -> Result<(), String> {
        if self.allowed.directories().is_empty() {
            return Ok(());
        }
        let kept = self.own();
        // Where it is not there yet, nothing could be said of where it will be.
        make_private_directory(&kept).map_err(|e| format!("`{}` cannot be made: {}", kept.display(), reason(&e)))?;
        let own = [&self.directory, &kept].map(|path| std::fs::canonicalize(path).ok());
        let inside = |directory: &&PathBuf| own.iter().flatten().any(|own| own.starts_with(directory));
        match self.allowed.directories().iter().find(inside) {
            None => Ok(()),
            Some(directory) => Err(format!(
                "`--allow-directory {}` has the pipelines or what `serve` keeps in it: a pipeline that is put over the API could write others, which may do anything; name directories beside or below them",
                directory.display()
            )),
        }
    }

    /// Whether the interface may be opened as it is asked for.
    fn may_listen(&self, door: &Door, tokens: &Tokens) -> Result<(), String> {
        if door.address.ip().is_loopback() {
            return Ok(());
        }
        let address = door.address;
        if self.tls.is_none() && !self.plain {
            return Err(format!(
                "{address} can be reached by others, and nothing would be encrypted: give `--tls-certificate` and `--tls-key`, or say `--plain` where something before it encrypts"
            ));
        }
        if !tokens.any() {
            return Err(format!(
                "{address} can be reached by others, and nobody has a token: make one with `millstream token add NAME --role admin --pipelines {}`",
                self.directory.display()
            ));
        }
        Ok(())
    }
}

/// Where a process with these directories keeps what is its own.
pub fn own(directory: &std::path::Path, data: Option<&std::path::Path>) -> PathBuf {
    data.map_or_else(|| directory.join(".millstream"), std::path::Path::to_owned).join("serve")
}

/// Runs until it is told to end. `begun` is told where the interface listens. True if everything stopped in time; the error is a
/// sentence.
pub fn serve(
    start: &Start,
    orders: &Receiver<Order>,
    levels: Arc<dyn Levels>,
    begun: &mut dyn FnMut(&str),
) -> Result<bool, String> {
    raise_files();
    small_pages();
    let own = start.own();
    let address = address_of(&start.listen)?;
    let door = Door { address, hosts: start.hosts.clone(), tokens: start.tokens };
    let tokens = Tokens::new(&own);
    start.may_listen(&door, &tokens)?;
    start.keeps_apart()?;
    let place = Place {
        directory: start.directory.clone(),
        shared: start.shared.clone(),
        own: own.clone(),
        allowed: Arc::new(start.allowed.clone()),
    };
    let (max_keys, max_state) = (start.max_keys, start.max_state);
    let settings = Settings { data: start.data.clone(), workers: start.workers, max_keys, max_state };
    let pipelines = Pipelines::new(place, settings);
    let service = Arc::new(Service {
        pipelines,
        rates: Rates::default(),
        tokens,
        audit: Audit::new(&own),
        door,
        redact: start.redact.clone(),
        levels,
    });
    let wanted = Address { listen: start.listen.clone(), connections: CONNECTIONS, tls: start.tls.clone() };
    let here = std::path::Path::new(".");
    let _telling = Telling::begin(&service);
    let listening = Listening::new(address, &wanted, here, router(&service))?;
    service.pipelines.look()?;
    begun(&format!("http{}://{}", if start.tls.is_some() { "s" } else { "" }, listening.address));
    tell(&[NotifyState::Ready]);
    let mut rows = Rows::default();
    loop {
        match orders.recv_timeout(LOOK_EVERY) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Order::Reload) => reload(&service, &mut rows),
            Err(RecvTimeoutError::Timeout) => look(&service, &mut rows),
        }
    }
    tell(&[NotifyState::Stopping]);
    let all = service.pipelines.stop(STOP_WITHIN);
    // Who asks until then is told how far it is.
    drop(listening);
    Ok(all)
}

/// Lets the process open as many files as it may at all: many pipelines have many, and who set the lower limit thought of one.
fn raise_files() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    if let Err(e) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!("the limit of open files cannot be raised: {e}");
    }
}

/// Keeps the memory of the process in small pages. Large ones make one pipeline with much state somewhat faster; of many that
/// have little each would hold several times what it uses.
fn small_pages() {
    if let Err(e) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("large pages of memory cannot be turned off: {e}");
    }
}

/// Tells systemd, if it started this process.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {e}");
    }
}

fn reload(service: &Service, rows: &mut Rows) {
    for of in service.pipelines.all() {
        service.pipelines.reload(&of.id, Vec::new());
    }
    look(service, rows);
}

/// What is done now and then.
fn look(service: &Service, rows: &mut Rows) {
    if let Err(why) = service.pipelines.look() {
        tracing::error!("{why}; pipelines that are known go on");
    }
    let (mut counts, now) = (Vec::new(), Instant::now());
    for of in service.pipelines.all() {
        let seen = of.seen();
        let (Some(handle), Some(pipeline)) = (seen.handle, seen.pipeline) else { continue };
        warn(&of.id, &handle);
        let entries = handle.counts();
        rows.tell(&of.id, &entries, now);
        counts.push((of.id.clone(), taken(&pipeline.plan, &entries)));
    }
    rows.keep(|id| service.pipelines.get(id).is_some());
    service.rates.look(counts.into_iter(), now);
    tell(&[NotifyState::Watchdog]);
}

/// Rows that sources have taken.
fn taken(plan: &Plan, entries: &[EntryCounts]) -> u64 {
    let is_source = |name: &str| plan.nodes.iter().any(|n| n.name == name && matches!(n.kind, NodeKind::Source(_)));
    entries.iter().filter(|entry| is_source(&entry.entry)).map(|entry| entry.tally.taken).sum()
}
