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
use crate::mesh::{self, Mesh, MeshChange, input};
use crate::plan::{snapshot, to_json};

/// Runs a number of steps, and acknowledges the returned batches at once.
fn run_steps(translation: &mut Translation, steps: usize) -> Vec<Vec<Unit>> {
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

type UnitResult = (Option<ResourceVerdict>, Vec<Value>);

fn unit_result(translation: &Translation, unit: &Unit) -> UnitResult {
    (translation.verdict(unit), translation.objects_of(unit).into_iter().map(to_json).collect())
}

/// Updates the known results of the returned units.
fn record_results(known: &mut BTreeMap<Unit, UnitResult>, translation: &Translation, pieces: Vec<Vec<Unit>>) {
    for unit in pieces.into_iter().flatten() {
        let result = unit_result(translation, &unit);
        known.insert(unit, result);
    }
}

/// Returns whether a unit is compared during the work. A relay depends on other namespaces, so it is compared at the
/// end.
fn is_compared(translation: &Translation, unit: &Unit) -> bool {
    !translation.is_pending(unit) && !matches!(unit, Unit::Relay(..))
}

fn with_complete_knowledge(settings: &TranslationSettings) -> TranslationSettings {
    TranslationSettings { coverage: InputCoverage::Complete, ..settings.clone() }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn the_result_does_not_depend_on_interruptions(
        (mesh, batches) in mesh::mesh_history(),
        stops in prop::collection::vec(1..12_usize, 1..12),
    ) {
        let mut stops = stops.iter().cycle();
        let mut settings = with_complete_knowledge(&mesh.settings);
        let mut objects: BTreeMap<_, _> = mesh.objects.iter().map(|object| (object.id(), object.clone())).collect();
        let mut translation = Translation::new(settings.clone());
        let mut known = BTreeMap::new();
        translation.accept_changes(mesh.changes());
        for step in batches.iter().flatten() {
            let pieces = run_steps(&mut translation, stops.next().copied().unwrap_or(1));
            record_results(&mut known, &translation, pieces);
            for unit in translation.units().filter(|unit| is_compared(&translation, unit)) {
                prop_assert_eq!(known.get(unit), Some(&unit_result(&translation, unit)), "{}", unit);
            }
            mesh::apply_change(&mut objects, step);
            match step {
                MeshChange::Put(object) => translation.accept_changes([input::change(&object.0)]),
                MeshChange::Remove(object) => translation.accept_changes([input::removal(&object.0)]),
                MeshChange::Settings(new) => {
                    settings = with_complete_knowledge(new);
                    translation.accept_settings(settings.clone());
                }
            }
        }
        while !translation.is_settled() {
            let pieces = run_steps(&mut translation, 3);
            record_results(&mut known, &translation, pieces);
        }
        known.retain(|_, result| *result != UnitResult::default());
        let all = translation.units().map(|unit| (unit.clone(), unit_result(&translation, unit)));
        prop_assert_eq!(&known, &all.filter(|(_, result)| *result != UnitResult::default()).collect::<BTreeMap<_, _>>());
        let fresh = Mesh { settings, objects: objects.into_values().collect() };
        prop_assert_eq!(snapshot(&translation), snapshot(&fresh.translate()));
    }
}

fn binding_change(namespace: &str, name: usize, port: u16) -> InputChange {
    let binding =
        binding(namespace, &format!("b{name}")).fed("blue").to_service("shop", &format!("remote-{name}"));
    input::change(&binding.port(port).endpoints(["203.0.113.7:15443"]).build())
}

fn settled_translation() -> Translation {
    let mut changes = vec![input::change(&flat("blue").unset("/spec/tls_context_selector").build())];
    changes.extend((0..500).map(|name| binding_change("mallory", name, 80)));
    changes.push(binding_change("shop", 0, 80));
    Translation::from_changes(TranslationSettings::default(), changes)
}

#[test]
fn a_namespace_with_little_work_does_not_wait_for_busy_ones() {
    let mut translation = settled_translation();
    translation.accept_changes((0..500).map(|name| binding_change("mallory", name, 81)));
    let pieces = run_steps(&mut translation, 50);
    assert!(pieces.is_empty(), "{pieces:?}");
    translation.accept_changes([binding_change("shop", 0, 81)]);
    let pieces = run_steps(&mut translation, 20);
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
fn a_changed_relationship_returns_one_complete_batch() {
    let mut translation = settled_translation();
    let changed = passthrough("blue").unset("/spec/tls_context_selector").build();
    translation.accept_changes([input::change(&changed)]);
    let mut steps = 0;
    let piece = loop {
        let mut pieces = run_steps(&mut translation, 1);
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
fn a_namespace_that_always_changes_still_returns_batches() {
    let mut translation = settled_translation();
    let own = (0..200).map(|index| {
        translation.accept_changes([binding_change("shop", 0, 100 + index)]);
        run_steps(&mut translation, 2).len()
    });
    assert!(own.sum::<usize>() >= 20);
}

/// A namespace does not run again before its last batch has been acknowledged.
#[test]
fn a_namespace_pauses_until_its_batch_is_acknowledged() {
    let mut translation = settled_translation();
    translation.accept_changes([binding_change("shop", 0, 81)]);
    let mut pieces = translation.run_units(|| true);
    translation.accept_changes([binding_change("shop", 0, 82), binding_change("mallory", 0, 82)]);
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
    assert!(to_json(&facade[0]).to_string().contains("81"), "{facade:?}");
    others.iter().chain(&pieces).for_each(|piece| translation.acknowledge_batch(piece));
    pieces = translation.run_units(|| true);
    assert!(pieces.iter().any(|piece| piece.units.contains(&theirs)), "{pieces:?}");
    for piece in &pieces {
        translation.acknowledge_batch(piece);
    }
    assert!(translation.is_settled());
}
