//! Which pipelines came over the API, by what their files say: they reach what the operator allows, and nothing else. A file
//! that somebody with access to the directory changes is the operator's from then on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::base::system::{make_private_directory, reason};

/// The pipelines that came over the API: hashes of their texts by name.
pub struct Arrived {
    path: PathBuf,
}

type Known = BTreeMap<String, Vec<String>>;

impl Arrived {
    /// What a file says.
    pub fn at(path: PathBuf) -> Arrived {
        Arrived { path }
    }

    /// Whether a pipeline's text came over the API. The error is a sentence.
    pub fn has(&self, id: &str, text: &str) -> Result<bool, String> {
        Ok(self.known()?.get(id).is_some_and(|hashes| hashes.contains(&hash(text))))
    }

    /// Notes that a text comes over the API, before it is where pipelines are read; `before` is what is there. The error is a
    /// sentence.
    pub fn note(&self, id: &str, before: Option<&str>, text: &str) -> Result<(), String> {
        let mut known = self.known()?;
        let hashes = known.entry(id.to_owned()).or_default();
        // Until the new text is in its place, the one before still is.
        let before = before.map(hash);
        hashes.retain(|known| before.as_ref() == Some(known));
        hashes.push(hash(text));
        let cannot = |e: std::io::Error| format!("`{}` cannot be written: {}", self.path.display(), reason(&e));
        let beside = self.path.with_extension("json.new");
        // Texts alone: this cannot fail.
        let text = serde_json::to_vec(&known).unwrap_or_default();
        self.path.parent().map_or(Ok(()), make_private_directory).map_err(cannot)?;
        fs::write(&beside, text).and_then(|()| fs::File::open(&beside)?.sync_all()).map_err(cannot)?;
        fs::rename(&beside, &self.path).map_err(cannot)
    }

    fn known(&self) -> Result<Known, String> {
        let cannot = |why: String| {
            format!(
                "which pipelines came over the API cannot be read from `{}`: {why}; remove it if you trust every file in the directory",
                self.path.display()
            )
        };
        match fs::read(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Known::new()),
            Err(e) => Err(cannot(reason(&e))),
            Ok(text) => serde_json::from_slice(&text).map_err(|e| cannot(e.to_string())),
        }
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_until_it_is_replaced_and_by_its_name_alone() {
        let home = tempfile::tempdir().unwrap();
        let arrived = Arrived::at(home.path().join("own/arrived.json"));
        assert_eq!(arrived.has("a", "x"), Ok(false));
        arrived.note("a", Some("the operator's"), "x").unwrap();
        assert_eq!((arrived.has("a", "x"), arrived.has("b", "x")), (Ok(true), Ok(false)));
        // Somebody dies between the note and the file, twice: what is there is still known.
        arrived.note("a", Some("x"), "y").unwrap();
        arrived.note("a", Some("x"), "z").unwrap();
        assert_eq!(
            (arrived.has("a", "x"), arrived.has("a", "y"), arrived.has("a", "z")),
            (Ok(true), Ok(false), Ok(true))
        );
        arrived.note("a", Some("z"), "w").unwrap();
        assert_eq!((arrived.has("a", "x"), arrived.has("a", "the operator's")), (Ok(false), Ok(false)));
        fs::write(home.path().join("own/arrived.json"), "[").unwrap();
        assert!(arrived.has("a", "w").unwrap_err().contains("cannot be read"));
    }
}
