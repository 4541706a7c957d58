//! `breakerbox secrets`: generates the secrets of a deployment, each in a separate file, and prints one.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::out::say;
use super::{Done, Failure};
use crate::web::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create each of these files, unless it exists, with a random secret
    ///
    /// If an environment variable with the name of the file in capitals is set, such as `ADMIN_TOKEN` for admin-token,
    /// its value is written instead, even if the file exists.
    Make {
        /// Paths of the files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// File mode (octal)
        #[arg(long, default_value = "0400", value_parser = mode, value_name = "MODE")]
        mode: u32,
    },
    /// Print a secret
    Show {
        /// Path of the file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

fn mode(text: &str) -> Result<u32, String> {
    let allowed = "must be an octal mode without write or execute bits, such as 0400 or 0444";
    u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o444 == 0).ok_or_else(|| allowed.to_owned())
}

pub(super) fn run(args: SecretsArgs) -> Done {
    match args.command {
        Command::Make { files, mode } => files.iter().try_for_each(|file| {
            let given = variable(file).and_then(std::env::var_os).filter(|value| !value.is_empty());
            make(file, given.as_deref(), mode).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
        }),
        Command::Show { file } => {
            let secret = Secret::read("secrets", &file).map_err(Failure::Refused)?;
            say!("{}", secret.reveal())
        }
    }
}

/// The variable that may contain a file's secret.
fn variable(file: &Path) -> Option<String> {
    Some(file.file_name()?.to_str()?.to_uppercase().replace(['-', '.'], "_"))
}

fn make(file: &Path, given: Option<&OsStr>, mode: u32) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let text = match given {
        Some(given) => given.to_str().ok_or(ErrorKind::InvalidData)?.to_owned(),
        None => Secret::random().reveal().to_owned(),
    };
    // Written under another name first, so that a reader never sees a partial file.
    let part = file.with_extension("part");
    let _ = fs::remove_file(&part);
    let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
    writeln!(new, "{text}")?;
    new.sync_all()?;
    let done = if given.is_some() {
        fs::rename(&part, file)
    } else {
        // An existing file is kept, even if several processes run at once.
        fs::hard_link(&part, file).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
    };
    let _ = fs::remove_file(&part);
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_written_once_with_restricted_mode() {
        let directory = std::env::temp_dir().join(format!("breakerbox-secrets-{}", std::process::id()));
        let file = directory.join("below/admin-token");
        let read = || fs::read_to_string(&file).unwrap();
        make(&file, None, 0o400).unwrap();
        let first = read();
        assert_eq!(first.trim().len(), 43, "256 bits");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
        make(&file, None, 0o400).unwrap();
        assert_eq!(read(), first, "a second run keeps it");
        make(&file, Some(OsStr::new("of my own")), 0o444).unwrap();
        assert_eq!(read(), "of my own\n");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(variable(&file).as_deref(), Some("ADMIN_TOKEN"));
        assert!(mode("0444").is_ok() && mode("0644").is_err() && mode("9").is_err());
    }
}
