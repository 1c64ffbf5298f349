//! A translation whose work is interrupted has the same result as one that runs to completion, and never returns
//! incomplete results.

use std::collections::BTreeMap;

use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh::{self, Mesh, Step, intake};
use crate::plan::{json, snapshot};

/// Runs a number of steps, and acknowledges the returned batches at once.
fn work(translation: &mut Translation, steps: usize) -> Vec<Vec<Unit>> {
    let mut left = steps;
    let pieces = translation.run_units(|| {
        left = left.saturating_sub(1);
        left > 0
    });
    for piece in &pieces {
        translation.acknowledge_batch(piece);
    }
    pieces.into_iter().map(|piece| piece.units).collect()
}

type Said = (Option<ResourceVerdict>, Vec<Value>);

fn said(translation: &Translation, unit: &Unit) -> Said {
    (translation.verdict(unit), translation.objects_of(unit).into_iter().map(json).collect())
}

/// Updates the known results of the returned units.
fn hear(known: &mut BTreeMap<Unit, Said>, translation: &Translation, pieces: Vec<Vec<Unit>>) {
    for unit in pieces.into_iter().flatten() {
        let result = said(translation, &unit);
        known.insert(unit, result);
    }
}

/// Returns whether a unit is compared during the work. A relay depends on other namespaces, so it is compared at the
/// end.
fn is_compared(translation: &Translation, unit: &Unit) -> bool {
    !translation.is_pending(unit) && !matches!(unit, Unit::Relay(..))
}

fn complete(settings: &TranslationSettings) -> TranslationSettings {
    TranslationSettings { coverage: InputCoverage::Complete, ..settings.clone() }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn the_result_does_not_depend_on_interruptions(
        (mesh, batches) in mesh::history(),
        stops in prop::collection::vec(1..12_usize, 1..12),
    ) {
        let mut stops = stops.iter().cycle();
        let mut settings = complete(&mesh.settings);
        let mut objects: BTreeMap<_, _> = mesh.objects.iter().map(|object| (object.id(), object.clone())).collect();
        let mut translation = Translation::new(settings.clone());
        let mut known = BTreeMap::new();
        translation.accept_changes(mesh.changes());
        for step in batches.iter().flatten() {
            let pieces = work(&mut translation, stops.next().copied().unwrap_or(1));
            hear(&mut known, &translation, pieces);
            for unit in translation.units().filter(|unit| is_compared(&translation, unit)) {
                prop_assert_eq!(known.get(unit), Some(&said(&translation, unit)), "{}", unit);
            }
            mesh::after(&mut objects, step);
            match step {
                Step::Put(object) => translation.accept_changes([intake::change(&object.0)]),
                Step::Remove(object) => translation.accept_changes([intake::removal(&object.0)]),
                Step::Settings(new) => {
                    settings = complete(new);
                    translation.accept_settings(settings.clone());
                }
            }
        }
        while !translation.is_settled() {
            let pieces = work(&mut translation, 3);
            hear(&mut known, &translation, pieces);
        }
        known.retain(|_, result| *result != Said::default());
        let all = translation.units().map(|unit| (unit.clone(), said(&translation, unit)));
        prop_assert_eq!(&known, &all.filter(|(_, result)| *result != Said::default()).collect::<BTreeMap<_, _>>());
        let fresh = Mesh { settings, objects: objects.into_values().collect() };
        prop_assert_eq!(snapshot(&translation), snapshot(&fresh.translate()));
    }
}

fn bound(namespace: &str, name: usize, port: u16) -> InputChange {
    let binding = binding(namespace, &format!("b{name}")).fed("blue").to("shop", &format!("remote-{name}"));
    intake::change(&binding.port(port).endpoints(["203.0.113.7:15443"]).build())
}

fn in_place() -> Translation {
    let mut changes = vec![intake::change(&flat("blue").unset("/spec/tls_context_selector").build())];
    changes.extend((0..500).map(|name| bound("mallory", name, 80)));
    changes.push(bound("shop", 0, 80));
    Translation::from_changes(TranslationSettings::default(), changes)
}

#[test]
fn a_namespace_with_little_to_do_waits_for_none_with_much() {
    let mut translation = in_place();
    translation.accept_changes((0..500).map(|name| bound("mallory", name, 81)));
    let pieces = work(&mut translation, 50);
    assert!(pieces.is_empty(), "{pieces:?}");
    translation.accept_changes([bound("shop", 0, 81)]);
    let pieces = work(&mut translation, 20);
    let [piece] = pieces.as_slice() else { panic!("{pieces:?}") };
    let theirs = Unit::ServiceBinding(ObjectKey::new("shop", "b0"));
    assert!(
        piece.contains(&theirs) && piece.contains(&Unit::Facade(ObjectKey::new("shop", "remote-0"))),
        "{piece:?}"
    );
    assert!(piece.iter().all(|unit| &**unit.namespace() == "shop"), "{piece:?}");
    assert!(!translation.is_pending(&theirs) && !translation.is_settled());
}

/// Any unit may depend on a relationship. Until all have run, a younger claimant may seem to hold the claim of an older
/// one.
#[test]
fn nothing_of_a_changed_relationship_is_given_out_before_all_is_known() {
    let mut translation = in_place();
    let changed = passthrough("blue").unset("/spec/tls_context_selector").build();
    translation.accept_changes([intake::change(&changed)]);
    let mut steps = 0;
    let piece = loop {
        let mut pieces = work(&mut translation, 1);
        steps += 1;
        if let Some(piece) = pieces.pop() {
            break piece;
        }
        assert!(
            steps < 10_000 && translation.is_pending(&Unit::ServiceBinding(ObjectKey::new("shop", "b0")))
        );
    };
    assert!(steps > 1000 && piece.len() > 1000, "{} after {steps}", piece.len());
    assert!(translation.is_settled() && !translation.is_holding_back());
}

/// The batch of a namespace ends although its changes continue.
#[test]
fn a_namespace_that_never_rests_is_given_out_all_the_same() {
    let mut translation = in_place();
    let own = (0..200).map(|turn| {
        translation.accept_changes([bound("shop", 0, 100 + turn)]);
        work(&mut translation, 2).len()
    });
    assert!(own.sum::<usize>() >= 20);
}

/// A namespace does not run again before its last batch has been acknowledged.
#[test]
fn a_namespace_rests_until_what_came_of_it_is_passed_on() {
    let mut translation = in_place();
    translation.accept_changes([bound("shop", 0, 81)]);
    let mut pieces = translation.run_units(|| true);
    translation.accept_changes([bound("shop", 0, 82), bound("mallory", 0, 82)]);
    let theirs = Unit::ServiceBinding(ObjectKey::new("shop", "b0"));
    let others = translation.run_units(|| true);
    assert!(
        others.iter().flat_map(|piece| &piece.units).all(|unit| &**unit.namespace() == "mallory"),
        "{others:?}"
    );
    assert!(
        translation.is_pending(&theirs) && !translation.can_plan(&theirs),
        "the binding must claim another port"
    );
    let facade = translation.objects_of(&Unit::Facade(ObjectKey::new("shop", "remote-0")));
    assert!(json(&facade[0]).to_string().contains("81"), "{facade:?}");
    others.iter().chain(&pieces).for_each(|piece| translation.acknowledge_batch(piece));
    pieces = translation.run_units(|| true);
    assert!(pieces.iter().any(|piece| piece.units.contains(&theirs)), "{pieces:?}");
    for piece in &pieces {
        translation.acknowledge_batch(piece);
    }
    assert!(translation.is_settled());
}
