//! Which addresses are reached by HTTP: those that an author wrote in plain text, and no private one that a public name
//! leads to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Ends of names that are nobody's on the public net.
const LOCAL: [&str; 8] = [".localhost", ".local", ".internal", ".lan", ".home", ".corp", ".test", ".home.arpa"];

/// The resolver for one place, unless private addresses are allowed.
pub fn resolver(place: &Url, private: bool) -> Option<Arc<dyn Resolve>> {
    (!private && !is_local(place)).then(|| Arc::new(Public) as Arc<dyn Resolve>)
}

/// Whether an author who writes this host means one that may be private: an address, or a name that is no public one.
fn is_local(place: &Url) -> bool {
    match place.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            !name.contains('.') || LOCAL.iter().any(|end| name.ends_with(end))
        }
        _ => true,
    }
}

/// Finds public addresses alone.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let public: Vec<SocketAddr> = found.iter().filter(|at| !is_private(at.ip())).copied().collect();
            if public.is_empty() && !found.is_empty() {
                let why = format!("`{}` leads to a private address; write `private: true` if it may", name.as_str());
                return Err(why.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is not one of the public net.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                // Shared by providers, for protocols, for measuring, and kept.
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b))
                || a >= 240
                || a == 0
        }
        IpAddr::V6(v6) => match v6.to_ipv4() {
            Some(v4) => is_private(IpAddr::V4(v4)),
            None => {
                let first = v6.segments().first().copied().unwrap_or(0);
                // Unique local, link-local, site-local, multicast.
                first & 0xfe00 == 0xfc00
                    || first & 0xffc0 == 0xfe80
                    || first & 0xffc0 == 0xfec0
                    || first & 0xff00 == 0xff00
            }
        },
    }
}

/// What a row makes of an address, if it stays at the place that was written in plain text.
pub fn same_place(place: &Url, made: &str) -> Result<Url, String> {
    let url = Url::parse(made).map_err(|e| format!("what the row makes of the address is none: {e}"))?;
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    if origin(&url) != origin(place) || url.username() != place.username() || url.password() != place.password() {
        return Err("the row's address leads to another host".to_owned());
    }
    if !url.path().starts_with(directory(place.path())) {
        return Err(format!("the row's address leads out of `{}`", directory(place.path())));
    }
    Ok(url)
}

/// The path up to its last slash.
fn directory(path: &str) -> &str {
    path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn names_that_may_be_private() {
        for (url, local) in [
            ("http://localhost:1/", true),
            ("http://receiver/", true),
            ("http://10.0.0.1/", true),
            ("http://[::1]/", true),
            ("http://printer.local/", true),
            ("http://example.org/", false),
            ("http://example.org./", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
        }
    }

    #[test]
    fn rows_stay_where_the_author_sent_them() {
        let place = Url::parse("https://example.org/devices/").unwrap();
        assert!(same_place(&place, "https://example.org/devices/a%2Fb?x=1").is_ok());
        for elsewhere in [
            "https://example.org/devices/../admin",
            "https://example.org.evil.net/devices/",
            "http://example.org/devices/",
            "https://example.org:8443/devices/",
            "https://a@example.org/devices/",
            "devices",
        ] {
            assert!(same_place(&place, elsewhere).is_err(), "{elsewhere}");
        }
    }
}
