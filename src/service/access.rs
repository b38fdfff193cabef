//! Who may do what: tokens with roles. A token is 256 random bits that are shown once; what is kept is their hash.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::system::{make_private_directory, reason};
use crate::engine::run::wall_clock;

/// What tokens begin with: who finds one knows what it is of.
const PREFIX: &str = "ms_";
/// Tokens that there may be.
const TOKENS: usize = 1_000;

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Start, stop and reload pipelines; silence and acknowledge alerts; send dead letters again.
    Operate,
    /// Put and delete pipelines.
    Admin,
}

impl Role {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }

    /// What a word stands for.
    pub fn of_word(word: &str) -> Option<Role> {
        [Role::Read, Role::Operate, Role::Admin].into_iter().find(|role| role.word() == word)
    }
}

/// A token, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// What its owner may do.
    pub role: Role,
    /// When it was made, RFC 3339.
    pub made: String,
    /// SHA-256 of it, hex.
    hash: String,
}

/// The tokens of a place, in a file that only its owner may read.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: Mutex<(Option<Print>, Vec<Token>)>,
}

type Print = (i64, i64, u64, u64);

fn print(path: &Path) -> Option<Print> {
    let about = fs::metadata(path).ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Tokens {
    /// The tokens that are kept in a directory; there may be none.
    pub fn new(own: &Path) -> Tokens {
        Tokens { path: own.join("tokens.json"), read: Mutex::default() }
    }

    /// All of them. The error is a sentence.
    pub fn list(&self) -> Result<Vec<Token>, String> {
        let cannot = |why: String| format!("the tokens in `{}` cannot be read: {why}", self.path.display());
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| cannot(e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(cannot(reason(&e))),
        }
    }

    /// Makes one: it is shown to nobody again. The error is a sentence.
    pub fn add(&self, name: &str, role: Role) -> Result<String, String> {
        let mut tokens = self.list()?;
        if tokens.iter().any(|token| token.name == name) {
            return Err(format!("there is a token `{name}` already; remove it first, or choose another name"));
        }
        if tokens.len() >= TOKENS {
            return Err(format!("there are {TOKENS} tokens; remove those that nobody needs"));
        }
        let mut bits = [0; 32];
        let random = fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bits));
        random.map_err(|e| format!("`/dev/urandom` gives no random bits: {}", reason(&e)))?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
        let made = wall_clock().to_string();
        tokens.push(Token { name: name.to_owned(), role, made, hash: hash(&token) });
        self.write(&tokens)?;
        Ok(token)
    }

    /// Takes one away; false if there is none of this name. The error is a sentence.
    pub fn remove(&self, name: &str) -> Result<bool, String> {
        let mut tokens = self.list()?;
        let before = tokens.len();
        tokens.retain(|token| token.name != name);
        if tokens.len() == before {
            return Ok(false);
        }
        self.write(&tokens).map(|()| true)
    }

    fn write(&self, tokens: &[Token]) -> Result<(), String> {
        let cannot = |e: std::io::Error| format!("`{}` cannot be written: {}", self.path.display(), reason(&e));
        if let Some(directory) = self.path.parent() {
            make_private_directory(directory).map_err(cannot)?;
        }
        let beside = self.path.with_extension("json.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(cannot)?;
        // Texts alone: this cannot fail.
        file.write_all(&serde_json::to_vec_pretty(tokens).unwrap_or_default())
            .and_then(|()| file.sync_all())
            .map_err(cannot)?;
        fs::rename(&beside, &self.path).map_err(cannot)
    }

    /// Whose token this is. The file is read again when it has changed; one that cannot be read lets nobody in.
    pub fn whose(&self, shown: &str) -> Option<Token> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = print(&self.path);
        if read.0 != now || now.is_none() {
            let tokens = self.list().unwrap_or_else(|why| {
                tracing::error!("{why}");
                Vec::new()
            });
            *read = (now, tokens);
        }
        // What is compared are hashes: how long that takes tells nothing of the token.
        let shown = hash(shown);
        read.1.iter().find(|token| token.hash == shown).cloned()
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.list().is_ok_and(|tokens| !tokens.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_it_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(home.path());
        assert!(!tokens.any() && tokens.whose("ms_").is_none());
        let shown = tokens.add("ann", Role::Operate).unwrap();
        let other = tokens.add("bob", Role::Read).unwrap();
        assert!(tokens.add("ann", Role::Read).is_err());
        assert_ne!(shown, other);
        assert_eq!(tokens.whose(&shown).map(|t| (t.name, t.role)), Some(("ann".to_owned(), Role::Operate)));
        let kept = fs::read_to_string(home.path().join("tokens.json")).unwrap();
        assert!(!kept.contains(&shown) && !kept.contains(&shown[PREFIX.len()..]));
        assert_eq!(fs::metadata(home.path().join("tokens.json")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(tokens.remove("ann").unwrap() && !tokens.remove("ann").unwrap());
        assert!(tokens.whose(&shown).is_none() && tokens.whose(&other).is_some());
    }
}
