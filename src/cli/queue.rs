//! `breakerbox queue`: look at the retry queue and replay what died in it.

use clap::{ArgGroup, Subcommand};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::admin_client::{AdminArgs, Remote, request};
use super::out::say;
use super::{Done, Failure};
use crate::admin::wire::{DeadLetters, QueueStatus, Replay, Replayed};

pub(super) type QueueArgs = Remote<Action>;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show the number of waiting orders, the age of the oldest, and the number of dead letters
    List,
    /// List the dead letters (orders that are out of attempts) with their errors
    Dead,
    /// Replay dead letters: queue them again with new attempts
    #[command(group = ArgGroup::new("which").required(true))]
    Replay {
        /// Id of the order
        #[arg(group = "which")]
        order: Option<String>,
        /// Replay all dead letters
        #[arg(long, group = "which")]
        all: bool,
    },
}

pub(super) fn run(args: QueueArgs) -> Done {
    match args.action {
        Action::List => {
            let queue: QueueStatus = ask(&args.admin, Method::GET, "/queue", None)?;
            say!(
                "{} of {} waiting, the oldest for {:.0} s; {} dead",
                queue.depth,
                queue.capacity,
                queue.oldest_item_age_seconds,
                queue.dead
            )?;
        }
        Action::Dead => {
            let letters: DeadLetters = ask(&args.admin, Method::GET, "/queue/dead", None)?;
            say!("{:<38} {:>10} {:>8}  why", "order", "won", "attempts")?;
            for letter in letters.dead {
                say!("{:<38} {:>10} {:>8}  {}", letter.order_id, letter.amount, letter.attempts, letter.error)?;
            }
        }
        Action::Replay { order, .. } => {
            let replay = Replay { all: order.is_none(), order_id: order };
            let body = serde_json::to_value(replay).map_err(|error| Failure::Failed(error.to_string()))?;
            let Replayed { replayed } = ask(&args.admin, Method::POST, "/queue/replay", Some(&body))?;
            say!("{replayed} replayed")?;
        }
    }
    Ok(())
}

/// Explains the error of a process that runs no checkout.
fn ask<T: DeserializeOwned>(admin: &AdminArgs, method: Method, path: &str, body: Option<&Value>) -> Result<T, Failure> {
    request(admin, method, path, body).map_err(|failure| match failure {
        Failure::Refused(why) if why.starts_with("no such admin page") => {
            Failure::Refused("no checkout runs there; --admin names the process that runs it".to_owned())
        }
        other => other,
    })
}
