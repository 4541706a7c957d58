//! The page of commands: the help text of each.

use std::fmt::Write as _;

use breakerbox::cli::Cli;
use clap::{Command, CommandFactory};

pub fn page() -> String {
    let mut page = "# Commands\n\nExit codes: 0 done, 1 tried and failed, 2 cannot be tried as asked.\n".to_owned();
    let mut root = plain(Cli::command());
    root.build();
    describe(&mut root, "breakerbox", &mut page);
    page
}

/// Hides values from the environment of this machine.
fn plain(command: Command) -> Command {
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command =
        command.mut_args(|argument| argument.hide_env_values(true)).term_width(100).disable_help_subcommand(true);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, plain))
}

fn describe(command: &mut Command, name: &str, page: &mut String) {
    let help = command.render_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    writeln!(page, "\n## {name}\n\n```text\n{}\n```", lines.join("\n").trim_end()).expect("a String takes any text");
    for sub in command.get_subcommands_mut() {
        let full = format!("{name} {}", sub.get_name());
        describe(sub, &full, page);
    }
}
