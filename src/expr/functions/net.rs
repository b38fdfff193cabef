//! Addresses and names of the Internet. IPv6 addresses that stand for IPv4 ones (`::ffff:10.0.0.1`) count as those.

use bumpalo::Bump;
use std::net::{IpAddr, Ipv4Addr};

use super::{Function, Return, any, function, int, made, text, truth};
use crate::data::value::{Val, Value};
use crate::expr::fault::Fault;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function(
            "is_ip(text)",
            "Whether a text is an IPv4 or IPv6 address.",
            (r#"is_ip("10.0.0.300")"#, "false"),
            |a, _| truth(text(a, 0)?.parse::<IpAddr>().is_ok()),
        ),
        function("ip_version(ip)", "4 or 6.", (r#"ip_version("fe80::1")"#, "6"), |a, _| {
            Ok(Val::Int(if ip(a, 0)?.is_ipv4() { 4 } else { 6 }).into())
        }),
        function(
            "in_cidr(ip, network)",
            "Whether an address lies in a network such as `10.0.0.0/8`, or in one of a list of them.",
            (r#"in_cidr("10.1.2.3", "10.0.0.0/8")"#, "true"),
            in_cidr,
        )
        .checked(1, |text| network(text).map(drop)),
        function(
            "is_private(ip)",
            "Whether an address is private (RFC 1918, `fc00::/7`), of this machine or of the link only.",
            (r#"is_private("192.168.1.20")"#, "true"),
            is_private,
        ),
        function(
            "ip_to_int(ip)",
            "An IPv4 address as an integer.",
            (r#"ip_to_int("10.0.0.1")"#, "167772161"),
            ip_to_int,
        ),
        function(
            "int_to_ip(x)",
            "The IPv4 address of an integer.",
            ("int_to_ip(167772161)", r#""10.0.0.1""#),
            int_to_ip,
        ),
        function(
            "ip_network(ip, bits, bits6?)",
            "The network that the first bits of an address name: what is left of it when its end must not be kept. IPv6 addresses have `bits6` (64).",
            (r#"ip_network("203.0.113.77", 24)"#, r#""203.0.113.0/24""#),
            ip_network,
        ),
        function(
            "is_subdomain(host, domain)",
            "Whether a host name is a domain or lies below it, in capitals or not.",
            (r#"is_subdomain("api.Example.com", "example.com")"#, "true"),
            is_subdomain,
        ),
    ]
}

fn ip(args: &[Val<'_>], i: usize) -> Result<IpAddr, Fault> {
    let address = text(args, i)?.parse::<IpAddr>();
    address.map(|ip| ip.to_canonical()).map_err(|_| Fault::Unfit(i, "is not an IP address".into()))
}

/// An address as its bits, from the highest, and how many it has.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

/// The bits of a network's addresses that are its own.
fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0)
}

/// A network's first address and the bits that it fixes. The error goes on after the argument.
fn network(text: &str) -> Result<(IpAddr, u32), String> {
    let wrong = || "is not a network like `10.0.0.0/8` or `fd00::/8`".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let written = address.parse::<IpAddr>().map_err(|_| wrong())?;
    let most = bits(written).1;
    let length = match length {
        Some(length) if length.bytes().all(|b| b.is_ascii_digit()) => length.parse::<u32>().map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
        None => most,
    };
    if length > most {
        return Err(format!("has {length} bits, and its addresses have {most}"));
    }
    let meant = written.to_canonical();
    match (written, meant) {
        // The first 96 bits say that it stands for an IPv4 address.
        (IpAddr::V6(_), IpAddr::V4(_)) if length >= 96 => Ok((meant, length - 96)),
        _ => Ok((written, length)),
    }
}

fn in_cidr<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let address = ip(args, 0)?;
    let lies_in = |given: &str| {
        let (first, length) = network(given)?;
        let fixed = mask(length);
        Ok(first.is_ipv4() == address.is_ipv4() && bits(first).0 & fixed == bits(address).0 & fixed)
    };
    match any(args, 1) {
        Val::Big(Value::List(networks)) => {
            let mut found = false;
            for given in networks.iter() {
                let Value::Text(given) = given else {
                    let kind = given.as_val().kind();
                    return Err(Fault::Unfit(1, format!("holds {kind}, where a network like `10.0.0.0/8` is needed")));
                };
                let lies =
                    lies_in(given).map_err(|why: String| Fault::Unfit(1, format!("holds {given:?}, which {why}")))?;
                found |= lies;
            }
            truth(found)
        }
        _ => truth(lies_in(text(args, 1)?).map_err(|why| Fault::Unfit(1, why))?),
    }
}

fn is_private<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    truth(match ip(args, 0)? {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    })
}

fn ip_to_int<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    match ip(args, 0)? {
        IpAddr::V4(ip) => Ok(Val::Int(u32::from(ip).into()).into()),
        IpAddr::V6(_) => Err(Fault::Unfit(0, "is an IPv6 address, whose 128 bits no integer holds".into())),
    }
}

fn int_to_ip<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let number = int(args, 0)?;
    let bits = u32::try_from(number).map_err(|_| Fault::Unfit(0, format!("is {number}, which is no IPv4 address")))?;
    made(&Ipv4Addr::from(bits).to_string(), arena)
}

fn ip_network<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let address = ip(args, 0)?;
    let (all, most) = bits(address);
    let at = if address.is_ipv4() { 1 } else { 2 };
    let length = if at < args.len() { int(args, at)? } else { 64 };
    let Some(length) = u32::try_from(length).ok().filter(|n| *n <= most) else {
        return Err(Fault::Unfit(at, format!("is {length}, and the address has {most} bits")));
    };
    let kept = all & mask(length);
    let first = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(kept >> 96).unwrap_or(0))),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    };
    made(&format!("{first}/{length}"), arena)
}

fn is_subdomain<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let name = |i: usize| Ok::<_, Fault>(text(args, i)?.trim_end_matches('.').as_bytes());
    let (host, domain) = (name(0)?, name(1)?);
    let below = host.len().checked_sub(domain.len()).map(|at| host.split_at(at));
    truth(below.is_some_and(|(above, end)| {
        end.eq_ignore_ascii_case(domain) && !domain.is_empty() && (above.is_empty() || above.ends_with(b"."))
    }))
}
