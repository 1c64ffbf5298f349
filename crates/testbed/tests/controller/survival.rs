//! Replicas and API servers that go and come.

use std::time::Duration;

use anyhow::{Result, ensure};
use emcee_testbed::Bed;

use super::emcee::Emcee;
use super::world::{FEDS, Resource, World};
use crate::users::{FLAT, WEB};
use crate::workloads::{ask, client_pod, command};

fn binding(name: &str) -> String {
    FLAT.binding(name, "helloworld", 5000, "http", &["203.0.113.7:5000".into()], "")
}

fn is_ready(world: &World, name: &str) -> Result<()> {
    let name = format!("flat-{name}");
    Resource { kind: "ServiceBinding", namespace: WEB, name: &name }.wait(&world.here, "Ready", "Fine")?;
    Ok(())
}

/// The holder of the Lease is killed; another replica goes on where it was.
pub(crate) fn takeover(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let second = Emcee::start(&world.here, FEDS)?;
    let first = {
        let mut emcees = world.emcees.lock().expect("no test panics while it has the replicas");
        std::mem::replace(&mut emcees[0], second)
    };
    first.kill()?;
    world.here.apply(&binding("late"))?;
    is_ready(&world, "late")?;
    world.here.delete(&binding("late"))
}

/// Traffic flows without an API server; what users wrote when it was back is done.
pub(crate) fn away(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let here = world.here.clone();
    let to = format!("flat-helloworld.{WEB}:5000");
    let pod = client_pod(WEB);
    let call = command(&["http", &to]).join(" ");
    let (sender, answers) = std::sync::mpsc::channel();
    world.here.without_apiserver(move || {
        let words: Vec<&str> = call.split(' ').collect();
        // The time that it is away is what this is about.
        std::thread::sleep(Duration::from_secs(30));
        let _received = sender.send(here.exec(&pod, &words));
    })?;
    let answer = answers.recv()??;
    ensure!(answer.code == 0, "without an API server: {answer:?}");
    world.here.apply(&binding("back"))?;
    is_ready(&world, "back")?;
    world.here.delete(&binding("back"))?;
    ask(&world.here, WEB, &["http", &to])?;
    Ok(())
}
