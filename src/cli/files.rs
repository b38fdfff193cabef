//! The pipeline files that a verb was given: files as they are, directories with all the pipelines below them.

use std::path::{Path, PathBuf};

use crate::base::system::reason;

/// The files named, and those ending in `.yaml` or `.yml` below each directory named, in order of their paths. The error
/// says which path is neither.
pub fn expand(named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry.map_err(|e| format!("`{}` cannot be read: {}", path.display(), reason(&e.into())))?;
            if entry.file_type().is_file() && is_pipeline(entry.path()) {
                files.push(entry.into_path());
            }
        }
        if files.len() == before {
            return Err(format!("there is no pipeline (a file ending in .yaml or .yml) below `{}`", path.display()));
        }
    }
    Ok(files)
}

fn is_pipeline(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}
