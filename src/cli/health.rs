//! `breakerbox health`: for container health checks, which have no shell and no curl.

use clap::Args;
use reqwest::Method;

use super::admin_client::{AdminArgs, request};
use super::{Done, Failure};
use crate::admin::wire::Liveness;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Check that the process is ready for requests, not only alive
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(args: &HealthArgs) -> Done {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    match request::<Liveness>(&args.admin, Method::GET, path, None) {
        Ok(_) => Ok(()),
        Err(Failure::Failed(why) | Failure::Refused(why)) => Err(Failure::Failed(why)),
    }
}
