//! Lines of a command on standard output and standard error.
//!
//! `println!` panics when its reader has closed the pipe, as `breakerbox lab list | head -1` does. Here a
//! reader that closes early is no failure; any other write error is one.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use super::{Done, Failure};

/// Writes a line to standard output.
macro_rules! say {
    ($($line:tt)*) => { $crate::cli::out::write(std::io::stdout().lock(), format_args!("{}\n", format_args!($($line)*))) };
}

/// Writes a text with line ends of its own to standard output.
macro_rules! say_all {
    ($text:expr) => {
        $crate::cli::out::write(std::io::stdout().lock(), format_args!("{}", $text))
    };
}

/// Writes a line to standard error, where a failure has nowhere to be reported.
macro_rules! note {
    ($($line:tt)*) => {{
        let _ = $crate::cli::out::write(std::io::stderr().lock(), format_args!("{}\n", format_args!($($line)*)));
    }};
}

pub(super) use {note, say, say_all};

pub(super) fn write(mut out: impl Write, text: Arguments<'_>) -> Done {
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        assert!(write(Broken(ErrorKind::BrokenPipe), format_args!("x")).is_ok());
        assert!(matches!(write(Broken(ErrorKind::StorageFull), format_args!("x")), Err(Failure::Failed(_))));
    }
}
