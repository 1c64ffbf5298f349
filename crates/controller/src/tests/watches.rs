//! Single watches: failures, relists and objects that are ignored.

use std::time::Duration;

use emcee_core::inputs::InputChange;
use emcee_core::plan::GeneratedKind;
use emcee_testkit::apiserver::{Fault, Verb};
use emcee_testkit::prelude::*;
use kube::Client;
use kube::api::{Patch, PatchParams};
use tokio::sync::mpsc;

use super::world::{GATEWAYS, RULES, World, options};
use crate::convert::WatchUpdate;
use crate::options::ControllerOptions;
use crate::watch::{WatchEvent, WatchEventKind, WatchSet};
use crate::{FIELD_MANAGER, NamespaceScope, Namespaces};

/// Time limit for one event.
const PATIENCE: Duration = Duration::from_mins(1);

/// Watches, and the events that they send.
struct Watching {
    watches: WatchSet,
    events: mpsc::Receiver<WatchEvent>,
}

/// Starts a set of watches.
type StartWatches = fn(&Client, &ControllerOptions, &mpsc::Sender<WatchEvent>) -> WatchSet;

impl Watching {
    fn start(world: &World, options: &ControllerOptions, start: StartWatches) -> Self {
        let (sender, events) = mpsc::channel(1024);
        Self { watches: start(&world.server.client(), options, &sender), events }
    }

    fn describe(&self, number: usize) -> String {
        self.watches.sources()[number].to_string()
    }

    async fn next_event(&mut self) -> WatchEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time");
        event.expect("watches do not end")
    }

    /// Returns the next event that the function accepts.
    async fn find<T>(&mut self, mut accept: impl FnMut(&WatchEventKind) -> Option<T>) -> T {
        loop {
            if let Some(found) = accept(&self.next_event().await.kind) {
                return found;
            }
        }
    }

    /// Waits for so many complete lists. Returns the watches that failed meanwhile, with the messages.
    async fn wait_for_lists(&mut self, count: usize) -> Vec<String> {
        let (mut synced, mut failed) = (0, Vec::new());
        while synced < count {
            let WatchEvent { source, kind } = self.next_event().await;
            match kind {
                WatchEventKind::Synced => synced += 1,
                WatchEventKind::Failed(why) | WatchEventKind::Forbidden(why) => {
                    failed.push(format!("{}: {why}", self.describe(source)));
                }
                WatchEventKind::KindMissing => failed.push(format!("{}: missing", self.describe(source))),
                WatchEventKind::Update(_) => {}
            }
        }
        failed
    }
}

fn service_change(kind: &WatchEventKind) -> Option<(String, bool)> {
    let WatchEventKind::Update(update) = kind else { return None };
    let WatchUpdate::Input(InputChange::Service(key, service)) = &**update else { return None };
    Some((key.to_string(), service.is_some()))
}

fn rule_change(kind: &WatchEventKind) -> Option<(String, bool)> {
    let WatchEventKind::Update(update) = kind else { return None };
    let WatchUpdate::Input(InputChange::DestinationRule(key, rule)) = &**update else { return None };
    Some((key.to_string(), rule.is_some()))
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_permission_fails_and_the_others_are_listed() {
    let world = World::new();
    world.server.inject(Fault::code(403).verb(Verb::List).plural(GATEWAYS).times(2));
    let mut watching = Watching::start(&world, &options(), WatchSet::for_generated);
    let all = GeneratedKind::ALL.len();
    let mut failed = watching.wait_for_lists(all - 1).await;
    // It is listed as soon as it may be.
    failed.extend(watching.wait_for_lists(1).await);
    let denied = "watch of Gateway: is forbidden: the user cannot do this (403)";
    assert_eq!(failed, [denied, denied]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_counts_as_listed_until_it_is() {
    let world = World::new();
    world.server.uninstall(GATEWAYS);
    let mut watching = Watching::start(&world, &options(), WatchSet::for_generated);
    let failed = watching.wait_for_lists(GeneratedKind::ALL.len() - 1).await;
    let missing = |failed: &[String]| failed.iter().all(|it| it == "watch of Gateway: missing");
    assert!(missing(&failed), "{failed:?}");
    world.server.install(GATEWAYS);
    let failed = watching.wait_for_lists(1).await;
    assert!(missing(&failed), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_after_410_is_reported_before_the_list_is_complete() {
    let world = World::new();
    let mut watching = Watching::start(&world, &options(), WatchSet::for_inputs);
    let lists = watching.watches.sources().len();
    assert_eq!(watching.wait_for_lists(lists).await, [""; 0]);
    world.server.pause();
    world.server.delete("services", "shop", "reviews");
    world.server.put("services", service("shop", "new").port("http", 80).build());
    world.server.resume();
    world.server.compact();
    let mut changes = Vec::new();
    let complete = |kind: &WatchEventKind| {
        changes.extend(service_change(kind));
        let is_last = changes.iter().any(|(key, _)| key == "shop/reviews");
        (is_last && matches!(kind, WatchEventKind::Synced)).then_some(())
    };
    watching.find(complete).await;
    assert!(changes.contains(&("shop/new".into(), true)), "{changes:?}");
    let last = changes.iter().rev().find(|(key, _)| key == "shop/reviews");
    assert_eq!(last, Some(&("shop/reviews".into(), false)));
}

/// A user hands a rule over to Emcee, or Emcee restores the label of its own rule: then it is not the user's
/// any more.
#[tokio::test(start_paused = true)]
async fn a_destination_rule_that_becomes_emcees_is_gone() {
    let world = World::new();
    let rule = destination_rule("shop", "rule").host("reviews");
    world.put(RULES, rule.clone().build());
    let mut watching = Watching::start(&world, &options(), WatchSet::for_inputs);
    assert_eq!(watching.find(rule_change).await, ("shop/rule".into(), true));
    let own = rule.clone().label("app.kubernetes.io/managed-by", "emcee").build();
    let by = PatchParams::apply(FIELD_MANAGER).force();
    let api = world.api(RULES, "shop", own.clone());
    api.patch("rule", &by, &Patch::Apply(own)).await.expect("it is applied");
    // The next update about rules must not be that of the other rule.
    world.put(RULES, destination_rule("shop", "other").host("ratings").build());
    assert_eq!(watching.find(rule_change).await, ("shop/rule".into(), false));
    assert_eq!(watching.find(rule_change).await, ("shop/other".into(), true));
    world.put(RULES, rule.build());
    assert_eq!(watching.find(rule_change).await, ("shop/rule".into(), true));
}

#[tokio::test]
async fn one_malformed_object_does_not_end_the_watch_of_the_others() {
    let world = World::new();
    world.put(RULES, destination_rule("shop", "a").set("/spec/subsets", 7).build());
    world.put(RULES, destination_rule("shop", "b").host("reviews").build());
    let mut watching = Watching::start(&world, &options(), WatchSet::for_inputs);
    assert_eq!(watching.find(rule_change).await, ("shop/a".into(), false));
    assert_eq!(watching.find(rule_change).await, ("shop/b".into(), true));
    // It is repaired.
    world.put(RULES, destination_rule("shop", "a").host("reviews").build());
    assert_eq!(watching.find(rule_change).await, ("shop/a".into(), true));
}

/// As in the generated RBAC: a watch without permission would never complete its list.
#[tokio::test]
async fn a_confined_controller_watches_only_what_it_may_read() {
    let world = World::new();
    let names = |names: &[&str]| Namespaces::from_names(names);
    let scope = NamespaceScope {
        watch: names(&["shop"]),
        fed: names(&["blue"]),
        gateway: ["gateways".to_owned()].into(),
    };
    let confined = ControllerOptions { scope, ..options() };
    let namespaces_of = |start: StartWatches, kind: &str| {
        let watching = Watching::start(&world, &confined, start);
        let sources: Vec<_> = watching.watches.sources().iter().map(ToString::to_string).collect();
        let prefix = format!("watch of {kind} in namespace ");
        assert!(!sources.contains(&format!("watch of {kind}")), "{kind} is watched everywhere");
        sources.iter().filter_map(|source| Some(source.strip_prefix(&prefix)?.to_owned())).collect::<Vec<_>>()
    };
    let (inputs, generated): (StartWatches, StartWatches) = (WatchSet::for_inputs, WatchSet::for_generated);
    assert_eq!(namespaces_of(inputs, "Service"), ["blue", "gateways", "shop"]);
    // These are cluster-scoped.
    assert_eq!((namespaces_of(inputs, "Node").len(), namespaces_of(inputs, "Namespace").len()), (0, 0));
    // What the root namespace contains applies to the whole mesh.
    let policies = namespaces_of(inputs, "PeerAuthentication");
    assert_eq!(policies, ["blue", "gateways", "istio-system", "shop"]);
    assert_eq!(namespaces_of(generated, "Gateway"), ["blue", "gateways", "shop"]);
    assert_eq!(namespaces_of(generated, "Secret"), ["blue", "gateways"]);
    assert_eq!(namespaces_of(generated, "Role"), ["blue"]);
}
