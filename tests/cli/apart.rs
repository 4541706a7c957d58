//! Services in separate processes, two of them instances of one service: the gateway's admin port covers all of them.

use serde_json::Value;

use crate::process::{Done, Process, breakerbox};

/// The gateway, and two instances of checkout that are configured as one service.
struct Apart {
    gateway: Process,
    instances: [Process; 2],
}

impl Apart {
    fn start() -> Self {
        let instances = [(); 2].map(|()| Process::start(&["serve", "checkout"], &[]));
        let urls = instances.each_ref().map(|instance| instance.admin.as_str()).join(",");
        let gateway = Process::start(&["serve", "gateway"], &[("BREAKERBOX_ADMIN__PEERS__CHECKOUT", &urls)]);
        Self { gateway, instances }
    }

    fn told(&self, command: &str) -> Done {
        let arguments: Vec<_> = command.split_whitespace().collect();
        breakerbox(&arguments, &[("BREAKERBOX_ADMIN_URL", &self.gateway.admin)])
    }

    fn done(&self, command: &str) -> String {
        let Done { code, stdout, stderr } = self.told(command);
        assert_eq!((code, stderr.as_str()), (0, ""), "{command}");
        stdout
    }
}

fn state(page: &Value) -> &str {
    let breakers = page["breakers"].as_array().unwrap();
    breakers.iter().find(|breaker| breaker["name"] == "payment-gateway").unwrap()["state"].as_str().unwrap()
}

#[test]
fn a_command_reaches_every_instance_behind_a_name() {
    let apart = Apart::start();
    let states = || apart.instances.each_ref().map(|instance| state(&instance.get("/breakers")).to_owned());
    apart.done("breaker force-open checkout/payment-gateway");
    assert_eq!(states(), ["forced_open", "forced_open"]);
    apart.done("breaker reset checkout/payment-gateway");
    assert_eq!(states(), ["closed", "closed"]);

    let active = || {
        apart
            .instances
            .each_ref()
            .map(|instance| instance.get("/faults")["targets"][0]["active"].as_array().unwrap().len())
    };
    apart.done("fault set checkout --error-rate 1 --ttl 60s");
    assert_eq!(active(), [1, 1]);
    apart.done("fault clear");
    assert_eq!(active(), [0, 0]);
}

#[test]
fn lists_cover_all_processes_and_name_missing_ones() {
    let apart = Apart::start();
    let breakers = apart.done("breaker list");
    for instance in &apart.instances {
        let own =
            |line: &&str| line.starts_with("checkout/payment-gateway") && line.ends_with(instance.admin_address());
        assert_eq!(breakers.lines().filter(own).count(), 1, "{breakers}");
    }
    assert!(breakers.contains("gateway/catalog"), "{breakers}");
    assert!(apart.done("fault list").lines().filter(|line| line.starts_with("checkout")).count() == 2);
    // Without `everywhere`, the port lists only the breakers of its own process.
    assert!(apart.gateway.get("/breakers").to_string().find("payment-gateway").is_none());
    assert_eq!(apart.gateway.get("/health?everywhere=true")["breakers"].as_u64().map(|many| many > 6), Some(true));

    let [one, other] = apart.instances;
    let apart = |command: &str| {
        breakerbox(&command.split(' ').collect::<Vec<_>>(), &[("BREAKERBOX_ADMIN_URL", &apart.gateway.admin)])
    };
    let gone = one.admin_address().to_owned();
    drop(one);
    let list = apart("breaker list");
    assert_eq!(list.code, 0);
    assert!(list.stdout.contains(other.admin_address()), "{}", list.stdout);
    assert!(list.stderr.contains("without checkout") && list.stderr.contains(&gone), "{}", list.stderr);
    // A command that reached only some of the instances fails and names the others.
    let half = apart("breaker force-open checkout/payment-gateway");
    assert_eq!(half.code, 1);
    assert!(half.stderr.contains(&gone) && half.stderr.contains("1 other applied it"), "{}", half.stderr);
}

#[test]
fn the_queue_and_the_targets_are_found_through_the_gateway() {
    let apart = Apart::start();
    assert!(apart.done("queue list").contains("0 of"));
    assert!(apart.done("queue dead").contains("order"));
    assert!(apart.done("queue replay --all").contains("0 replayed"));
    let discovered = apart.gateway.get("/sd");
    let targets = apart.instances.each_ref().map(|instance| Value::from(instance.admin_address()));
    assert_eq!(discovered[0]["targets"], Value::Array(targets.to_vec()));

    let alone = Process::start(&["serve", "gateway"], &[]);
    let asked = breakerbox(&["queue", "list"], &[("BREAKERBOX_ADMIN_URL", &alone.admin)]);
    assert_eq!(asked.code, 2);
    assert!(asked.stderr.contains("no checkout runs"), "{}", asked.stderr);
}
