//! A temporary folder that is removed when the test ends.

use std::path::{Path, PathBuf};
use std::{fs, process};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("breakerbox-{}-{name}", process::id()));
        fs::create_dir_all(&path).expect("a folder for temporary files can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The folders of rules and their tests, side by side as in the repository.
    pub(crate) fn with_rules(name: &str) -> Self {
        let scratch = Self::new(name);
        for folder in super::files::RULE_FOLDERS.iter().copied().chain(["alerts/tests"]) {
            let target = scratch.path().join(folder);
            fs::create_dir_all(&target).expect("a temporary folder can be written");
            for file in super::files::yaml_in(folder) {
                let name = file.file_name().expect("a file has a name");
                fs::copy(&file, target.join(name)).expect("a file can be copied");
            }
        }
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
