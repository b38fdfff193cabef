//! `millstream health`: whether a daemon is well, for those who restart it if it is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use crate::base::time::TimeSpan;
use crate::connectors::reach::ask;

use super::load::print;
use super::state_path::failed;
use super::table::{printable, shortened};

/// Options of `health`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the daemon listens, as it was told.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7070",
        env = "MILLSTREAM_LISTEN",
        hide_env_values = true
    )]
    listen: String,
    /// Ask whether it does its work, too: sources connected, checkpoints fresh.
    #[arg(long)]
    ready: bool,
    /// Ask with TLS alone; without this it is asked so if it does not answer otherwise. Whose certificate it is does not matter,
    /// since the daemon is told nothing.
    #[arg(long)]
    tls: bool,
    /// How long it has for an answer.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = span)]
    timeout: TimeSpan,
}

/// How much of an answer is shown.
const SHOWN: usize = 400;

fn span(text: &str) -> Result<TimeSpan, String> {
    TimeSpan::parse(text)
}

/// Asks. The exit code is [`super::exit::FAILED`] if it is not well, or does not answer.
pub fn run(args: &Args) -> u8 {
    let address = match address(&args.listen) {
        Ok(address) => address,
        Err(why) => return failed(&why),
    };
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let within = args.timeout.to_std();
    let plainly = if args.tls { None } else { Some(ask(address, false, path, within)) };
    // One that speaks TLS has no answer to anything else; the first reason is the better one if it has none to this either.
    let answer = match plainly {
        None => ask(address, true, path, within),
        Some(Err(why)) => ask(address, true, path, within).map_err(|_| why),
        Some(answer) => answer,
    };
    match answer {
        Ok((status, text)) => {
            let text = shortened(&printable(text.trim()), SHOWN);
            match status {
                200..=299 => print(&format!("{text}\n")),
                _ => failed(&format!("{address} answers {status}: {text}")),
            }
        }
        Err(why) => failed(&why),
    }
}

/// Where somebody on this machine finds what listens there.
fn address(listen: &str) -> Result<SocketAddr, String> {
    let found =
        listen.to_socket_addrs().map_err(|e| format!("`{listen}` is no address: {e}; write `127.0.0.1:7070`"))?;
    let mut address = found.into_iter().next().ok_or_else(|| format!("`{listen}` has no address"))?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_here() {
        let of = |listen| address(listen).unwrap().to_string();
        assert_eq!([of("0.0.0.0:7070"), of("[::]:1"), of("10.1.2.3:80")], ["127.0.0.1:7070", "[::1]:1", "10.1.2.3:80"]);
        assert!(address("nowhere").is_err());
    }
}
