//! Replicas and API servers that fail and come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emcee_testbed::Bed;
use serde_json::Value;

use super::emcee::{Emcee, undone};
use super::manual_changes::generated_object;
use super::world::{FEDS, Resource, World, until};
use crate::users::{FLAT, WEB};
use crate::workloads::{ask, client_pod, command};

fn binding(name: &str) -> String {
    FLAT.binding(name, "helloworld", 5000, "http", &["203.0.113.7:5000".into()], "")
}

fn wait_until_ready(world: &World, name: &str) -> Result<()> {
    let name = format!("flat-{name}");
    Resource { kind: "ServiceBinding", namespace: WEB, name: &name }.wait(
        &world.consuming_mesh,
        "Ready",
        "Ready",
    )?;
    Ok(())
}

/// Waits until the holder of Emcee's Lease is as wanted.
fn wait_holder(world: &World, is: impl Fn(&str) -> bool + Send + Sync + 'static) -> Result<()> {
    let holder = |lease: Option<&Value>| {
        lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default().to_owned()
    };
    let held = move |lease: Option<&Value>| is(&holder(lease));
    let lease = ("coordination.k8s.io/v1", "Lease");
    until(&world.consuming_mesh, lease, ("emcee-system", "emcee"), "the Lease has another holder", held)
}

fn replace_replica(world: &World, emcee: Emcee) -> Emcee {
    let mut emcees = world.emcees.lock().expect("no test panics while it holds the lock");
    std::mem::replace(&mut emcees[0], emcee)
}

/// The holder of the Lease is killed, and a standby replica takes over.
pub(crate) fn second_replica_takes_over(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    wait_holder(&world, |holder| !holder.is_empty())?;
    let first = replace_replica(&world, Emcee::start(&world.consuming_mesh, FEDS)?);
    first.kill()?;
    world.consuming_mesh.apply(&binding("late"))?;
    wait_until_ready(&world, "late")?;
    world.consuming_mesh.delete(&binding("late"))
}

/// A replica that ends releases the Lease. Meanwhile, a user creates an object with a generated name: it is not changed.
pub(crate) fn taken_name_is_not_overwritten(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let rule = generated_object(&world.consuming_mesh, "DestinationRule", "flat-helloworld")?;
    // Taken out of the shared list, so that it can be stopped; its successor is inserted at the end.
    let first = {
        let mut emcees = world.emcees.lock().expect("no test panics while it holds the lock");
        emcees.remove(0)
    };
    first.stop()?;
    wait_holder(&world, str::is_empty)?;
    world.consuming_mesh.delete(&rule.to_string())?;
    let theirs = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"namespace": rule["metadata"]["namespace"], "name": rule["metadata"]["name"]},
        "spec": {"host": "theirs.example"},
    })
    .to_string();
    world.consuming_mesh.apply(&theirs)?;
    let second = Emcee::start(&world.consuming_mesh, FEDS)?;
    world.emcees.lock().expect("no test panics while it holds the lock").insert(0, second);
    let binding = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-helloworld" };
    binding.wait(&world.consuming_mesh, "Programmed", "Conflict")?;
    let now = current_rule(&world, &rule)?;
    ensure!(now["spec"]["host"] == "theirs.example", "{now}");
    world.consuming_mesh.delete(&theirs)?;
    binding.wait(&world.consuming_mesh, "Programmed", "Programmed")?;
    Ok(())
}

fn current_rule(world: &World, rule: &Value) -> Result<Value> {
    let text = |field: &str| rule["metadata"][field].as_str().unwrap_or_default();
    let found = world.consuming_mesh.get(
        "networking.istio.io/v1",
        "DestinationRule",
        text("namespace"),
        text("name"),
    )?;
    found.context("the rule does not exist")
}

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Replicas are killed at random points during 200 random changes; the objects converge to what the resources ask for.
pub(crate) fn killed_replicas_converge(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let mut dice = Dice(20_261_124);
    for _ in 0..200 {
        let name = format!("any-{}", dice.below(12));
        if dice.below(3) == 0 {
            world.consuming_mesh.delete(&binding(&name))?;
        } else {
            let port = u16::try_from(5000 + dice.below(4)).unwrap_or(5000);
            world.consuming_mesh.apply(&FLAT.binding(
                &name,
                "any",
                port,
                "http",
                &["203.0.113.7:5000".into()],
                "",
            ))?;
        }
        if dice.below(20) == 0 {
            replace_replica(&world, Emcee::start(&world.consuming_mesh, FEDS)?).kill()?;
        }
    }
    wait_until_converged(&world)?;
    for number in 0..12 {
        world.consuming_mesh.delete(&binding(&format!("any-{number}")))?;
    }
    wait_until_converged(&world)
}

/// Polls, because no event tells that nothing is left to do.
fn wait_until_converged(world: &World) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let undone = undone(&world.consuming_mesh)?;
        if undone.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "still to be applied: {undone}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Most lines that Emcee may log while the API server is away for a minute.
const MAX_OUTAGE_LINES: usize = 10;

/// Traffic flows without an API server, and Emcee's log stays short. What users write afterwards is applied.
pub(crate) fn api_server_outage(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let here = world.consuming_mesh.clone();
    let log = here.folder().join("logs/emcee.log");
    let before = std::fs::read_to_string(&log)?.lines().count();
    let to = format!("flat-helloworld.{WEB}:5000");
    let pod = client_pod(WEB);
    let call = command(&["http", &to]).join(" ");
    let (sender, answers) = std::sync::mpsc::channel();
    world.consuming_mesh.without_apiserver(move || {
        let words: Vec<&str> = call.split(' ').collect();
        // The length of the outage is what this test is about.
        std::thread::sleep(Duration::from_mins(1));
        let _received = sender.send((here.exec(&pod, &words), std::fs::read_to_string(&log)));
    })?;
    let (answer, text) = answers.recv()?;
    let (answer, text) = (answer?, text?);
    ensure!(answer.code == 0, "without an API server: {answer:?}");
    let lines: Vec<_> = text.lines().skip(before).collect();
    ensure!(lines.iter().any(|line| line.contains("watch failed")), "the outage is not logged: {lines:#?}");
    ensure!(lines.len() <= MAX_OUTAGE_LINES, "{} lines in a minute: {lines:#?}", lines.len());
    world.consuming_mesh.apply(&binding("back"))?;
    wait_until_ready(&world, "back")?;
    world.consuming_mesh.delete(&binding("back"))?;
    ask(&world.consuming_mesh, WEB, &["http", &to])?;
    Ok(())
}
