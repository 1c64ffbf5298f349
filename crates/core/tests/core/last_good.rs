//! A resource that becomes invalid keeps its last good version.

use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::translate::{LastGood, Unit};
use emcee_testkit::certs::{Ca, Leaf};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases;
use crate::mesh::{self, GeneratedInput, MeshChange, input};
use crate::plan::snapshot;

fn binding_with(port: &Value) -> Value {
    let mut value = binding("shop", "ratings").fed("blue").endpoints(["203.0.113.9:15443"]).port(80).build();
    value["spec"]["port"] = port.clone();
    value
}

fn last_good_of(values: &[Value]) -> LastGood {
    let mut last_good = LastGood::new(TranslationSettings::default());
    last_good.update(values.iter().map(input::change));
    last_good
}

#[test]
fn a_resource_keeps_its_last_good_version_until_it_is_fixed_or_removed() {
    let (good, bad) = (binding_with(&json!(80)), binding_with(&json!("eighty")));
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "ratings"));
    // This also holds if both versions arrive in one update.
    for mut last_good in [last_good_of(&[good.clone(), bad.clone()]), {
        let mut last_good = last_good_of(std::slice::from_ref(&good));
        assert_eq!(last_good.update([input::change(&bad)]), vec![unit.clone()]);
        last_good
    }] {
        let verdict = last_good.verdict(&unit).expect("a verdict");
        assert!(verdict.keeps_last_good && !verdict.is_accepted());
        assert_eq!(
            snapshot(last_good.translation()),
            snapshot(last_good_of(std::slice::from_ref(&good)).translation())
        );
        assert_eq!(last_good.update([input::change(&good)]), vec![unit.clone()]);
        assert!(!last_good.verdict(&unit).expect("a verdict").keeps_last_good);
        last_good.update([input::change(&bad), input::removal(&good)]);
        assert_eq!(last_good.verdict(&unit), None);
        last_good.update([input::change(&bad)]);
        assert!(!last_good.verdict(&unit).expect("a verdict").keeps_last_good, "there is no valid version");
    }
}

#[test]
fn an_invalid_secret_keeps_the_last_good_one_in_place() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example"));
    let secret = |pair: &TlsPair| secret_tls("blue", "blue").label("relationship", "blue").pair(pair).build();
    let (good, bad) = (secret(&pair), secret(&pair.with_wrong_key()));
    let config = boundary("blue").build();
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    let mut last_good = last_good_of(&[config, good.clone()]);
    last_good.set_settings(TranslationSettings {
        now: "2026-06-01T00:00:00Z".parse().expect("a time"),
        ..TranslationSettings::default()
    });
    let before = snapshot(last_good.translation());
    let certificate = |last_good: &LastGood| last_good.verdict(&unit).and_then(|verdict| verdict.certificate);
    assert_eq!(certificate(&last_good), Some(Ok(())));
    assert!(last_good.update([input::change(&bad)]).contains(&unit));
    assert_eq!(before, snapshot(last_good.translation()));
    assert!(matches!(certificate(&last_good), Some(Err(_))));
    assert!(last_good.update([input::change(&good)]).contains(&unit));
    assert_eq!(certificate(&last_good), Some(Ok(())));
    last_good.update([input::removal(&good)]);
    assert!(matches!(certificate(&last_good), Some(Err(_))), "deleting the Secret takes effect");
}

#[test]
fn a_future_certificate_is_not_used_while_another_is_valid() {
    let secret = |leaf: &Leaf| {
        let pair = Ca::shared("blue").issue(leaf);
        input::change(&secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build())
    };
    let at = |now: &str| TranslationSettings {
        now: now.parse().expect("a time"),
        ..TranslationSettings::default()
    };
    let good = Leaf::dns("m1.blue.example");
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    for next in [good.clone().expired(), good.clone().not_yet_valid()] {
        let mut last_good = last_good_of(&[boundary("blue").build()]);
        last_good.set_settings(at("2026-06-01T00:00:00Z"));
        last_good.update([secret(&good)]);
        let before = snapshot(last_good.translation());
        last_good.update([secret(&next)]);
        assert_eq!(before, snapshot(last_good.translation()));
        let certificate = last_good.verdict(&unit).and_then(|verdict| verdict.certificate);
        let problem = certificate.and_then(Result::err).expect("a problem");
        assert!(problem.message.contains("the last good one stays in place"), "{problem}");
    }
    let mut last_good = last_good_of(&[boundary("blue").build()]);
    last_good.set_settings(at("2026-06-01T00:00:00Z"));
    last_good.update([secret(&good), secret(&good.clone().not_yet_valid())]);
    // The certificate becomes valid without another write of the Secret.
    let units = last_good.set_settings(at("2100-06-01T00:00:00Z"));
    assert!(units.contains(&unit));
    let mut fresh = last_good_of(&[boundary("blue").build()]);
    fresh.set_settings(at("2100-06-01T00:00:00Z"));
    fresh.update([secret(&good.not_yet_valid())]);
    assert_eq!(last_good.verdict(&unit), fresh.verdict(&unit));
}

proptest! {
    #![proptest_config(cases(100))]

    /// Changes of other objects in between do not matter.
    #[test]
    fn only_the_history_of_each_object_matters((mesh, batches) in mesh::mesh_history()) {
        let manually = |object: &GeneratedInput| {
            let mut object = object.clone();
            mesh::import_manually(&mut object);
            input::change(&object.0)
        };
        let first = mesh.objects.iter().map(|object| (object.id(), manually(object)));
        let steps = batches.iter().flatten().filter_map(|step| match step {
            MeshChange::Put(object) => Some((object.id(), manually(object))),
            MeshChange::Remove(object) => Some((object.id(), input::removal(&object.0))),
            MeshChange::Settings(_) => None,
        });
        let history: Vec<_> = first.chain(steps).collect();
        let mut in_turn = LastGood::new(mesh.settings.clone());
        for (_, change) in &history {
            in_turn.update([change.clone()]);
        }
        let mut by_object = history;
        by_object.sort_by(|a, b| b.0.cmp(&a.0));
        let mut at_once = LastGood::new(mesh.settings.clone());
        at_once.update(by_object.into_iter().map(|(_, change)| change));
        prop_assert_eq!(snapshot(in_turn.translation()), snapshot(at_once.translation()));
        prop_assert_eq!(in_turn.verdicts(), at_once.verdicts());
    }
}
