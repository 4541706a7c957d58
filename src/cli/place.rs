//! The data directory of an all-in-one process: a temporary one, removed at exit, unless one is given.
//!
//! A directory is locked while a process uses it. The lock is the kernel's and ends with the process, however it ends.
//! The directory of a killed process is removed by the next process that starts.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::settings::Settings;
use crate::store::DatabaseUrl;

const LOCK: &str = "lock";
const FRESH: &str = "breakerbox-orders-";

/// A directory that this process holds exclusively while this value exists.
pub(super) struct Place {
    path: PathBuf,
    fresh: bool,
    /// Keeps other processes out.
    _lock: File,
}

impl Place {
    /// The given directory, or a new temporary one; `None` if the settings configure databases. Refuses a directory
    /// that is in use.
    pub(super) fn take(settings: &mut Settings, named: Option<&Path>) -> Result<Option<Self>, String> {
        if let Some(named) = named {
            settings.store.directory = named.display().to_string();
        }
        if named.is_none() && !settings.store.url.is_empty() {
            return Ok(None);
        }
        let fresh = settings.store.directory.is_empty();
        let path = if fresh {
            sweep(&std::env::temp_dir());
            let path = std::env::temp_dir().join(format!("{FRESH}{:016x}", rand::random::<u64>()));
            settings.store.directory = path.display().to_string();
            path
        } else {
            PathBuf::from(&settings.store.directory)
        };
        let lock = match fs::create_dir_all(&path).and_then(|()| File::create(path.join(LOCK))) {
            Ok(lock) => lock,
            Err(error) if fresh => {
                tracing::warn!(directory = %path.display(), %error, "not writable; using in-memory SQLite, orders are lost on exit");
                settings.store.directory.clear();
                settings.store.url = DatabaseUrl::from("sqlite::memory:");
                return Ok(None);
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, fresh, _lock: lock })),
            Err(TryLockError::WouldBlock) => {
                Err(format!("{} is in use by another breakerbox; name another directory with --data", path.display()))
            }
            Err(TryLockError::Error(error)) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Description printed at the start.
    pub(super) fn describe(&self) -> String {
        let path = self.path.display();
        if self.fresh {
            format!("orders     {path} (removed at exit; --data DIR keeps them)")
        } else {
            format!("orders     {path} (kept)")
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.fresh {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes temporary directories of killed processes, recognized by their missing lock.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(FRESH)) {
        // A directory without a lock file has just been created by another process.
        if let Ok(lock) = File::open(entry.path().join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::load(None, std::iter::empty()).unwrap()
    }

    #[test]
    fn each_run_has_a_place_of_its_own_that_is_gone_afterwards() {
        let (mut one, mut other) = (settings(), settings());
        let first = Place::take(&mut one, None).unwrap().unwrap();
        let second = Place::take(&mut other, None).unwrap().unwrap();
        assert_ne!(one.store.directory, other.store.directory);
        assert!(first.path.is_dir() && first.describe().contains(&one.store.directory));
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists() && second.path.is_dir());
    }

    #[test]
    fn a_directory_in_use_is_refused_in_one_line() {
        let named = std::env::temp_dir().join(format!("breakerbox-place-{}", std::process::id()));
        let mut own = settings();
        let first = Place::take(&mut own, Some(&named)).unwrap().unwrap();
        let refused = Place::take(&mut settings(), Some(&named)).err().unwrap();
        assert!(refused.contains("is in use by another breakerbox") && !refused.contains('\n'), "{refused}");
        drop(first);
        let again = Place::take(&mut settings(), Some(&named)).unwrap().unwrap();
        assert!(again.path.is_dir(), "a given directory is kept");
        drop(again);
        fs::remove_dir_all(named).unwrap();
    }

    #[test]
    fn directories_of_killed_processes_are_removed() {
        let root = std::env::temp_dir().join(format!("breakerbox-sweep-{}", std::process::id()));
        let (left, held) = (root.join(format!("{FRESH}left")), root.join(format!("{FRESH}held")));
        for path in [&left, &held] {
            fs::create_dir_all(path).unwrap();
        }
        File::create(left.join(LOCK)).unwrap();
        let lock = File::create(held.join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        sweep(&root);
        assert!(!left.exists() && held.exists());
        fs::remove_dir_all(root).unwrap();
    }
}
