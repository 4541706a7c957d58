//! Commands to a running process, through its admin port.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use super::out::note;
use crate::admin::wire::{ProblemBody, Unreachable};

/// Explains a 401: no token was given, or a wrong one.
const NO_TOKEN: &str =
    "changes take the admin token there: give it with --token, --token-file or BREAKERBOX_ADMIN_TOKEN";
const WRONG_TOKEN: &str = "the admin token is not the one that is set there; it was given with --token, --token-file \
     or BREAKERBOX_ADMIN_TOKEN";

/// Where the admin port is.
#[derive(Debug, Args)]
pub(super) struct AdminArgs {
    /// Admin address of the running process
    #[arg(
        long,
        global = true,
        env = "BREAKERBOX_ADMIN_URL",
        default_value = "http://127.0.0.1:8090",
        value_name = "URL"
    )]
    admin: String,
    /// Admin token, if one is set there
    #[arg(long, global = true, env = "BREAKERBOX_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the admin token; preset inside the containers of the compose stack
    #[arg(long, global = true, env = "BREAKERBOX_ADMIN__TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl AdminArgs {
    pub(super) fn url(&self) -> &str {
        &self.admin
    }

    /// The token, from the flag, the environment or the file.
    pub(super) fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = self.token_file.as_ref().filter(|_| self.token.is_none()) else {
            return Ok(self.token.clone());
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Refused(format!("--token-file {}: {error}", file.display())))?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// A command for a running process, and the address of that process.
#[derive(Debug, Args)]
pub(super) struct Remote<A: Subcommand> {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    #[command(subcommand)]
    pub(super) action: A,
}

/// Sends one request and returns its answer.
pub(super) fn request<T: DeserializeOwned>(
    args: &AdminArgs,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let answer = runtime.block_on(send(args, method, path, body))?;
    serde_path_to_error::deserialize(answer)
        .map_err(|error| Failure::Failed(format!("the answer of {path}: {error}; is it the same version?")))
}

async fn send(args: &AdminArgs, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let url = format!("{}{path}", args.admin.trim_end_matches('/'));
    reqwest::Url::parse(&url).map_err(|error| Failure::Refused(format!("--admin {:?}: {error}", args.admin)))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(std::time::Duration::from_secs(10))
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let mut request = client.request(method, &url);
    let token = args.token()?;
    let refused = if token.is_some() { WRONG_TOKEN } else { NO_TOKEN };
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(|error| {
        if error.is_connect() {
            Failure::Failed(format!(
                "nothing answers at {}: is breakerbox running there? (--admin names another address)",
                args.admin
            ))
        } else {
            Failure::Failed(error.to_string())
        }
    })?;
    let status = response.status();
    let text = response.text().await.map_err(|error| Failure::Failed(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(json);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(Failure::Refused(refused.to_owned()));
    }
    let detail = serde_json::from_value(json).map_or(text, |problem: ProblemBody| problem.detail);
    // A client error means that the request was invalid; any other is a failure of the server.
    if status.is_client_error() { Err(Failure::Refused(detail)) } else { Err(Failure::Failed(detail)) }
}

/// Prints which processes are missing in a page of all of them.
pub(super) fn print_unreachable(unreachable: Option<&[Unreachable]>) {
    for Unreachable { name, why } in unreachable.into_iter().flatten() {
        note!("without {name}: {why}");
    }
}
