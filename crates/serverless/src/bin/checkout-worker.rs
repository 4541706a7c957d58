//! Lambda function of the retry queue. It reports each failed message, so that the others of its batch are deleted.
#![forbid(unsafe_code)]

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use breakerbox_serverless::queue::Retry;
use breakerbox_serverless::settings::Settings;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let checkout = Settings::read(|name| std::env::var(name).ok())?.checkout().await?;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let checkout = checkout.clone();
        async move {
            let mut response = SqsBatchResponse::default();
            for message in event.payload.records {
                let id = message.message_id.unwrap_or_default();
                let retry = serde_json::from_str::<Retry>(&message.body.unwrap_or_default());
                let done = match retry {
                    Ok(retry) => checkout.retry(&retry).await.map_err(|error| error.to_string()),
                    // After too many receptions the redrive policy moves it to the dead-letter queue.
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = done {
                    tracing::warn!(%error, message = id, "retry failed");
                    let mut failure = BatchItemFailure::default();
                    failure.item_identifier = id;
                    response.batch_item_failures.push(failure);
                }
            }
            Ok::<_, Error>(response)
        }
    }))
    .await
}
