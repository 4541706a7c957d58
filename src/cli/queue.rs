//! `breakerbox queue`: look at the retry queue and replay what died in it.

use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::admin_client::{AdminArgs, request};
use super::{Done, Failure};

#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// How many orders wait, for how long, and how many died
    List,
    /// Orders that ran out of attempts, and why
    Dead,
    /// Give dead orders their attempts back
    #[command(group = ArgGroup::new("which").required(true))]
    Replay {
        /// Which
        #[arg(group = "which")]
        order: Option<String>,
        /// All of them
        #[arg(long, group = "which")]
        all: bool,
    },
}

pub(super) fn run(args: QueueArgs) -> Done {
    match args.action {
        Action::List => {
            let queue = ask(&args.admin, Method::GET, "/queue", None)?;
            let number = |key: &str| queue[key].as_f64().unwrap_or_default();
            println!(
                "{} of {} waiting, the oldest for {:.0} s; {} dead",
                number("depth"),
                number("capacity"),
                number("oldest_item_age_seconds"),
                number("dead")
            );
        }
        Action::Dead => {
            let answer = ask(&args.admin, Method::GET, "/queue/dead", None)?;
            println!("{:<38} {:>10} {:>8}  why", "order", "won", "attempts");
            for letter in answer["dead"].as_array().into_iter().flatten() {
                let text = |key: &str| letter[key].as_str().unwrap_or("?").to_owned();
                println!(
                    "{:<38} {:>10} {:>8}  {}",
                    text("order_id"),
                    letter["amount"],
                    letter["attempts"],
                    text("error")
                );
            }
        }
        Action::Replay { order, .. } => {
            let body = order.map_or_else(|| json!({}), |order| json!({"order_id": order}));
            let answer = ask(&args.admin, Method::POST, "/queue/replay", Some(&body))?;
            println!("{} replayed", answer["replayed"]);
        }
    }
    Ok(())
}

/// Says what is missing where no checkout runs.
fn ask(admin: &AdminArgs, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    request(admin, method, path, body).map_err(|failure| match failure {
        Failure::Refused(why) if why.starts_with("no such admin page") => {
            Failure::Refused("no checkout runs there; --admin names the process that runs it".to_owned())
        }
        other => other,
    })
}
