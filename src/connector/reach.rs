//! What a connector reaches beside the pipeline, and what of that may be reached by pipelines whose author is not who runs
//! the program.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use url::Url;

/// What a connector with certain options reaches. What rows decide stays inside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files and directories, as they are written; globs and templates among them.
    pub paths: Vec<String>,
    /// Addresses that it connects to.
    pub urls: Vec<String>,
    /// Peers that no URL names: host and port.
    pub peers: Vec<(String, u16)>,
    /// Addresses that it listens on: `host:port`.
    pub listens: Vec<String>,
}

impl Reach {
    /// Nothing.
    pub fn nothing() -> Reach {
        Reach::default()
    }

    /// One path.
    pub fn path(path: &str) -> Reach {
        Reach { paths: vec![path.to_owned()], ..Reach::default() }
    }

    /// One address, perhaps through a proxy.
    pub fn url(url: &str, proxy: Option<&str>) -> Reach {
        Reach { urls: std::iter::once(url).chain(proxy).map(str::to_owned).collect(), ..Reach::default() }
    }

    /// More paths.
    pub fn with_paths<'a>(mut self, paths: impl IntoIterator<Item = &'a String>) -> Reach {
        self.paths.extend(paths.into_iter().cloned());
        self
    }

    /// More addresses.
    pub fn with_urls<'a>(mut self, urls: impl IntoIterator<Item = &'a String>) -> Reach {
        self.urls.extend(urls.into_iter().cloned());
        self
    }
}

/// What pipelines may reach whose author is not who runs the program; nothing, if nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    directories: Vec<PathBuf>,
    variables: Vec<String>,
    hosts: Vec<Host>,
}

/// A host of which somebody may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// A name or an address, in lower case; with `*.` before it all names that end so; `*` for any.
    name: String,
    /// One port; every port without.
    port: Option<u16>,
}

/// Why something may not be reached: a sentence, and how that is changed.
pub type Refusal = (String, String);

impl Allowed {
    /// Directories, variables and hosts as somebody names them. A variable that ends with `*` stands for all that begin so.
    /// The error is a sentence.
    pub fn new(directories: &[PathBuf], variables: &[String], hosts: &[String]) -> Result<Allowed, String> {
        let there = |path: &PathBuf| {
            let found = std::fs::canonicalize(path).ok().filter(|path| path.is_dir());
            found.ok_or_else(|| format!("`{}` is not a directory that is there", path.display()))
        };
        Ok(Allowed {
            directories: directories.iter().map(there).collect::<Result<_, _>>()?,
            variables: variables.to_vec(),
            hosts: hosts.iter().map(|host| Host::of(host)).collect::<Result<_, _>>()?,
        })
    }

    /// The directories, whole.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Why a variable may not be read, if it may not.
    pub fn variable(&self, name: &str) -> Option<Refusal> {
        let fits = |known: &String| match known.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => known == name,
        };
        (!self.variables.iter().any(fits)).then(|| {
            let why = format!("the variable `{name}` is not for pipelines that are put over the API");
            (why, format!("`--allow-variable {name}` makes it so"))
        })
    }

    /// Why a path, a glob or a template of one may not be reached, if it may not; `directory` is what it is relative to.
    pub fn path(&self, directory: &Path, path: &str) -> Option<Refusal> {
        let plain = plain_part(path);
        let refuse = |why: &str| {
            let why = format!("`{path}` {why}");
            Some((why, "`--allow-directory DIR` names directories that they may reach".to_owned()))
        };
        let rest = path.get(plain.len()..).unwrap_or_default();
        if Path::new(rest).components().any(|part| part == Component::ParentDir) {
            return refuse("leads upward behind what is plain text, which pipelines that are put over the API may not");
        }
        let whole = whole(&directory.join(plain));
        match whole.is_some_and(|whole| self.directories.iter().any(|inside| whole.starts_with(inside))) {
            true => None,
            false => refuse("is in no directory that pipelines that are put over the API may reach"),
        }
    }

    /// Why a host may not be reached, or listened on, if it may not.
    fn host(&self, name: &str, port: u16) -> Option<Refusal> {
        let name = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        (!self.hosts.iter().any(|host| host.fits(&name, port))).then(|| {
            let why = format!("`{name}:{port}` is no host that pipelines that are put over the API may reach");
            (why, format!("`--allow-host {name}:{port}` makes it one; without the port it counts for every port"))
        })
    }

    fn url(&self, url: &str) -> Option<Refusal> {
        // What rows decide is behind the host; an address that is none is a mistake that the connector tells.
        let parsed = Url::parse(url).ok()?;
        let host = parsed.host_str()?;
        let usual = match parsed.scheme() {
            "mqtt" => Some(1883),
            "mqtts" => Some(8883),
            "socks5" | "socks5h" => Some(1080),
            _ => parsed.port_or_known_default(),
        };
        self.host(host, parsed.port().or(usual).unwrap_or(0))
    }

    /// Why a connector may not do what it would, if it may not.
    pub fn refuses(&self, directory: &Path, reach: &Reach) -> Option<Refusal> {
        let listens = reach.listens.iter().find_map(|listen| {
            let (host, port) = listen.rsplit_once(':').unwrap_or((listen, "0"));
            // No host is every one.
            let host = if host.is_empty() { "0.0.0.0" } else { host };
            self.host(host, port.parse().unwrap_or(0))
        });
        listens
            .or_else(|| reach.urls.iter().find_map(|url| self.url(url)))
            .or_else(|| reach.peers.iter().find_map(|(host, port)| self.host(host, *port)))
            .or_else(|| reach.paths.iter().find_map(|path| self.path(directory, path)))
    }
}

impl Host {
    fn of(text: &str) -> Result<Host, String> {
        let whole = text.to_ascii_lowercase();
        let (name, port) = match whole.rsplit_once(':') {
            // An address of IPv6 has colons of its own.
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("`{text}` has no port after its colon"))?;
                (name, Some(port))
            }
            _ => (whole.as_str(), None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let wild = name.strip_prefix("*.").unwrap_or(&name);
        if name.is_empty() || name.contains(['/', '@', ' ']) || (name != "*" && wild.contains('*')) {
            return Err(format!("`{text}` is no host: write `example.org`, `*.example.org`, `10.0.0.7:1883` or `*`"));
        }
        Ok(Host { name, port })
    }

    fn fits(&self, name: &str, port: u16) -> bool {
        let named = match self.name.strip_prefix('*') {
            Some(end) => name.ends_with(end) && name.len() > end.len(),
            None => self.name == name,
        };
        named && self.port.is_none_or(|own| own == port)
    }
}

/// The part of a path before what a pattern or a row decides, up to its last slash; all of it if it is plain.
fn plain_part(path: &str) -> &str {
    match path.find(['*', '?', '[', '{']) {
        Some(at) => path.get(..at).and_then(|before| before.get(..=before.rfind('/')?)).unwrap_or_default(),
        None => path,
    }
}

/// A path with all links on it followed, where it need not be there to its end.
fn whole(path: &Path) -> Option<PathBuf> {
    let (mut there, mut missing) = (path.to_path_buf(), Vec::<OsString>::new());
    loop {
        match std::fs::canonicalize(if there.as_os_str().is_empty() { Path::new(".") } else { &there }) {
            Ok(found) => return Some(missing.into_iter().rev().fold(found, |path, part| path.join(part))),
            // A link that leads nowhere is there.
            Err(_) if std::fs::symlink_metadata(&there).is_ok() => return None,
            Err(_) => {
                // Behind something that is not there nothing can be known of `..`.
                missing.push(there.file_name()?.to_owned());
                there.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        std::fs::create_dir_all(home.join("data/deep")).unwrap();
        std::fs::create_dir(home.join("data2")).unwrap();
        std::os::unix::fs::symlink("/etc", home.join("data/out")).unwrap();
        std::os::unix::fs::symlink("nowhere", home.join("data/dangling")).unwrap();
        let allowed = Allowed::new(&[home.join("data")], &[], &[]).unwrap();
        for inside in ["data/x", "data/*.log", "data/{{ a }}.ndjson", "data/new/deeper/x", "data/deep/../x", "data"] {
            assert_eq!(allowed.path(home, inside), None, "{inside}");
        }
        for outside in [
            "x",
            "/etc/passwd",
            "data/../x",
            "data2/x",
            "data*/x",
            "data/out/passwd",
            "data/dangling",
            "data/*/../../x",
            "data/{{ a }}/../../x",
            "data/missing/../../x",
            "{{ a }}",
            "",
        ] {
            assert!(allowed.path(home, outside).is_some(), "{outside}");
        }
        assert!(Allowed::default().path(home, "data/x").is_some());
    }

    #[test]
    fn hosts_are_those_that_are_named() {
        let hosts = ["example.org", "*.lan", "10.0.0.7:1883", "[::1]:80", "fd00::1"].map(str::to_owned);
        let allowed = Allowed::new(&[], &[], &hosts).unwrap();
        for url in [
            "https://example.org/x",
            "http://EXAMPLE.org:81/{{ a }}",
            "mqtt://printer.lan",
            "mqtt://10.0.0.7",
            "http://[::1]/",
            "http://[fd00::1]:9/",
        ] {
            assert_eq!(allowed.url(url), None, "{url}");
        }
        for url in [
            "https://example.org.evil.net/",
            "https://evil.net/example.org",
            "https://example.org@evil.net/",
            "http://lan/",
            "mqtts://10.0.0.7",
            "http://[::1]:81/",
        ] {
            assert!(allowed.url(url).is_some(), "{url}");
        }
        let listens = |listen: &str| Reach { listens: vec![listen.to_owned()], ..Reach::default() };
        assert!(allowed.refuses(Path::new("."), &listens("0.0.0.0:80")).is_some());
        assert_eq!(allowed.refuses(Path::new("."), &listens("[::1]:80")), None);
        for wrong in ["", "a b", "http://x", "x:y", "*x", "a.*"] {
            assert!(Allowed::new(&[], &[], &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables_are_those_that_are_named() {
        let allowed = Allowed::new(&[], &["SITE".to_owned(), "PIPE_*".to_owned()], &[]).unwrap();
        assert!(allowed.variable("SITE").is_none() && allowed.variable("PIPE_A").is_none());
        assert!(allowed.variable("SITES").is_some() && allowed.variable("PIPE").is_some());
    }
}
