//! Lambda function of the state machine's tasks.
#![forbid(unsafe_code)]

use breakerbox_serverless::settings::Settings;
use breakerbox_serverless::steps::{Step, run as run_step};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let checkout = Settings::read(|name| std::env::var(name).ok())?.checkout().await?;
    run(service_fn(move |event: LambdaEvent<Step>| {
        let checkout = checkout.clone();
        async move { Ok::<_, Error>(run_step(&checkout, event.payload).await?) }
    }))
    .await
}
