//! Executes the definition of the state machine.

use std::process::{Command, Stdio};

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::database::Backend;
use crate::runtime::Treatment::{Charge, Fail, LoseAnswer};
use crate::runtime::{Instance, serve};
use crate::world::{World, root, tool, unique};

/// ARN of the task function in Step Functions.
const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:checkout-step";

/// Runs the definition with the real task function. Returns the last output of the interpreter, with normalized spaces.
async fn execute(world: &World, key: &str) -> Option<String> {
    let interpreter = tool("LOCAL_SFN")?;
    let step = std::sync::Arc::new(Instance::start(env!("CARGO_BIN_EXE_checkout-step"), &world.variables).await);
    let router = axum::Router::new().route(
        "/",
        axum::routing::post(move |body: String| {
            let step = std::sync::Arc::clone(&step);
            async move { step.invoke(serde_json::from_str(&body).unwrap()).await.unwrap_or_default().to_string() }
        }),
    );
    let address = serve(router).await;
    // The interpreter runs a program for each task, which passes the input to the function.
    let task = std::env::temp_dir().join(format!("breakerbox-task-{}", unique()));
    let script = "#!/usr/bin/env python3\nimport sys, urllib.request\nprint(urllib.request.urlopen('http://ADDRESS/', sys.argv[1].encode()).read().decode())\n";
    std::fs::write(&task, script.replace("ADDRESS", &address.to_string())).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&task).status().unwrap().success());
    // Substituted by SAM at deployment.
    let definition = std::fs::read_to_string(root().join("deploy/serverless/checkout.asl.json")).unwrap();
    let file = task.with_extension("json");
    std::fs::write(&file, definition.replace("${StepFunctionArn}", FUNCTION)).unwrap();
    let input = json!({"key": key, "order": {"title": "parasite", "amount": 3_500}}).to_string();
    let mut command = tokio::process::Command::new(interpreter);
    command.arg("-f").arg(&file).args(["-w", "Wait:1200"]);
    for state in ["Reserve", "Charge", "GiveUp"] {
        command.arg("-t").arg(format!("{state}:{}", task.display()));
    }
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // Dropped immediately, to close the input.
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = process.wait_with_output().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(&task).unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "))
}

async fn the_state_machine_pays_at_once(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    let Some(output) = execute(&world, "machine-1").await else { return };
    assert!(output.contains("status: 'paid'"), "{output}");
    world.books_agree(&["machine-1".to_owned()]).await;
}

async fn the_state_machine_waits_out_an_open_breaker(backend: Backend) {
    let Some(world) = World::new(backend, &[("BREAKER_OPEN_MILLIS", "2000")]).await else { return };
    world.gateway.will(&[Fail, Fail, Fail, Charge, Charge]);
    let Some(output) = execute(&world, "machine-2").await else { return };
    assert!(output.contains("status: 'paid'"), "{output}");
    assert_eq!(world.gateway.calls(), 4, "three failures, no call while open, one probe");
    world.books_agree(&["machine-2".to_owned()]).await;
}

async fn the_state_machine_gives_up_and_undoes(backend: Backend) {
    let Some(world) = World::new(backend, &[("BREAKER_FAILURES", "100"), ("FIRST_DELAY_MILLIS", "1")]).await else {
        return;
    };
    world.gateway.otherwise(LoseAnswer);
    let Some(output) = execute(&world, "machine-3").await else { return };
    assert!(output.contains("status: 'cancelled'"), "{output}");
    world.books_agree(&["machine-3".to_owned()]).await;
}

over_each_store! {
    the_state_machine_pays_at_once,
    the_state_machine_waits_out_an_open_breaker,
    the_state_machine_gives_up_and_undoes,
}
