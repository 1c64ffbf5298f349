//! Random changes by users and by hand, controllers killed at random points, and an API server that fails: in
//! the end the cluster is as its resources ask for.

use emcee_testkit::apiserver::{Effect, Fault, Verb};
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;

use super::world::{BINDINGS, EXPOSITIONS, FEDS, RunningController, World, binding_of, exposing};

const NAMESPACES: [&str; 2] = ["shop", "bank"];
const SERVICES: [&str; 2] = ["reviews", "ratings"];
const RELATIONSHIPS: [&str; 3] = ["blue", "red", "green"];

struct Dice(TestRng);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    fn below(&mut self, sides: usize) -> usize {
        use proptest::prelude::Rng as _;
        self.0.next_u32() as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

#[tokio::test]
async fn random_kills_and_changes_converge() {
    for seed in 0..4 {
        let mut dice = Dice::new(seed);
        let world = World::new();
        let mut running = world.start();
        for _ in 0..200 {
            change_at_random(&world, &mut dice).await;
            running = disturb_controller(&world, &mut dice, running).await;
        }
        for relationship in RELATIONSHIPS {
            touch_relationship(&world, relationship);
        }
        world.wait_until_converged().await;
        running.stop().await;
    }
}

async fn change_at_random(world: &World, dice: &mut Dice) {
    let (namespace, name) = (dice.pick(&NAMESPACES), dice.pick(&SERVICES));
    let relationship = dice.pick(&RELATIONSHIPS);
    match dice.below(10) {
        0..=2 => drop(world.put(EXPOSITIONS, exposing(namespace, name, relationship))),
        3..=5 => drop(world.put(BINDINGS, binding_of(namespace, name, relationship))),
        6 => world.kubectl_delete(EXPOSITIONS, namespace, name),
        7 => world.kubectl_delete(BINDINGS, namespace, name),
        8 => touch_relationship(world, relationship),
        _ => tamper(world, dice).await,
    }
}

fn touch_relationship(world: &World, relationship: &str) {
    let other = world.server.get(FEDS, relationship, relationship);
    if let Some(mut object) = other {
        object["metadata"]["labels"]["touched"] = json!("yes");
        world.put(FEDS, object);
    }
}

/// Changes or removes a generated object by hand.
async fn tamper(world: &World, dice: &mut Dice) {
    let generated: Vec<_> = world.server.read_state(|state| {
        let ours = state.list().filter(|(key, object)| {
            key.plural.ends_with("istio.io")
                && object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "emcee"
        });
        ours.map(|(key, _)| key.clone()).collect()
    });
    if generated.is_empty() {
        return;
    }
    let key = generated[dice.below(generated.len())].clone();
    if dice.below(2) == 0 {
        world.server.delete(&key.plural, &key.namespace, &key.name);
    } else {
        let patch = json!({"spec": {"exportTo": ["nowhere"]}});
        world.kubectl_edit(&key.plural, &key.namespace, &key.name, &patch).await;
    }
}

async fn disturb_controller(world: &World, dice: &mut Dice, running: RunningController) -> RunningController {
    match dice.below(12) {
        0 => {
            running.kill().await;
            return world.start();
        }
        1 => {
            running.stop().await;
            return world.start();
        }
        2 => world.server.close_watches(),
        3 => world.server.compact(),
        4 => world.server.inject(Fault::new(Effect::DropAfter).verb(Verb::Patch)),
        5 => world.server.inject(Fault::code(500).verb(Verb::Patch).times(2)),
        6 => world.server.inject(Fault::code(409).verb(Verb::Delete)),
        7 => {
            running.set_leading(false);
            running.set_leading(true);
        }
        _ => tokio::task::yield_now().await,
    }
    running
}

#[tokio::test]
async fn a_second_replica_takes_over() {
    let world = World::new();
    let first = world.start();
    let second = world.start_as(false);
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    world.wait_until_converged().await;
    first.kill().await;
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    second.set_leading(true);
    world.wait_until_converged().await;
    second.stop().await;
}
