//! Many rivals for one claim. The cost grows as with the same number of independent resources.

use std::collections::{BTreeMap, BTreeSet};

use emcee_api::Reason;
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit, WorkCounters};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh::input;
use crate::plan::{objects_of_kind, snapshot, to_json};

/// Maximum bindings of a facade.
const LIMIT: usize = 100;

fn relationship() -> Value {
    flat("blue").unset("/spec/tls_context_selector").build()
}

/// Builds binding number `age`. 0 is the oldest.
fn rival_binding(age: usize, facade: &str, port: u16, export_to: &str) -> Value {
    binding("shop", &format!("b{age}"))
        .fed("blue")
        .to_service("shop", &format!("remote-{age}"))
        .alias(facade)
        .port(port)
        .export_to([export_to])
        .endpoints(["203.0.113.7:15443"])
        .uid(&format!("{age:06}"))
        .build()
}

fn port_number(number: usize) -> u16 {
    u16::try_from(1 + number).expect("a port")
}

fn rival_exposition(age: usize, alias: &str) -> Value {
    let exposition = exposition("shop", &format!("e{age}")).fed("blue").of_service("reviews").port(80);
    exposition.alias(alias).uid(&format!("{age:06}")).build()
}

fn translation(objects: impl IntoIterator<Item = Value>) -> Translation {
    let changes: Vec<InputChange> =
        [relationship()].into_iter().chain(objects).map(|it| input::change(&it)).collect();
    Translation::from_changes(TranslationSettings::default(), changes)
}

/// Counts the work of a translation whose objects and verdicts are read once, as `emcee render` does.
fn measure_work(objects: impl IntoIterator<Item = Value>) -> WorkCounters {
    let translation = translation(objects);
    let (objects, verdicts) = (translation.objects(), translation.verdicts());
    assert!(!verdicts.is_empty() && objects.len() < 10 * verdicts.len());
    translation.work_counters()
}

/// Counts the work of `count` bindings in facades of `of` bindings each.
fn work_of_facades(count: usize, of: usize) -> WorkCounters {
    measure_work(
        (0..count).map(|n| rival_binding(n, &format!("facade-{}", n / of), port_number(n % of), "*")),
    )
}

fn work_of_server_names(count: usize, of: usize) -> WorkCounters {
    measure_work((0..count).map(|n| rival_exposition(n, &format!("name-{}", n / of))))
}

/// Divides two counts. `u64` cannot be converted losslessly to `f64`.
fn ratio(rivals: u64, independents: u64) -> f64 {
    f64::from(u32::try_from(rivals).expect("small")) / f64::from(u32::try_from(independents).expect("small"))
}

/// Asserts that the cost of one more rival depends on the limit, not on the number of rivals.
#[track_caller]
fn assert_cheap(name: &str, run: impl Fn(usize, usize) -> WorkCounters, sizes: [usize; 2]) {
    let [small, large] = sizes.map(|count| {
        let alone = run(count, 1);
        [LIMIT, count].map(|of| {
            let together = run(count, of);
            let units = ratio(together.unit_runs, alone.unit_runs);
            assert!(units <= 1.5, "{name}: {units} × the units of {count} independents");
            together.claim_reads
        })
    });
    for (small, large) in small.into_iter().zip(large) {
        let growth = ratio(large, small);
        let size = f64::from(u32::try_from(sizes[1] / sizes[0]).expect("small"));
        assert!(growth <= 1.5 * size, "{name}: {growth} × the claims read, with {size} × as many rivals");
    }
}

#[test]
fn bindings_of_one_facade_cost_as_much_as_independent_ones() {
    assert_cheap("facades", work_of_facades, [400, 1600]);
}

#[test]
fn expositions_of_one_server_name_cost_as_much_as_independent_ones() {
    assert_cheap("server names", work_of_server_names, [400, 1600]);
}

/// A change of one of many rivals affects only the rivals that are compared.
#[test]
fn a_change_of_one_rival_affects_only_compared_rivals() {
    const COUNT: usize = 1000;
    let mut mesh = translation((0..COUNT).map(|n| rival_binding(n, "front", port_number(n), "*")));
    let changes = [
        // The binding, its rivals, the facade, and the shared hosts that the binding leaves and joins.
        (rival_binding(0, "front", port_number(0), "."), LIMIT + 4),
        (rival_binding(0, "front", port_number(0), "*"), LIMIT + 4),
        (rival_binding(0, "front", 5000, "*"), 4),
        (rival_binding(50, "other", 80, "*"), 5),
        (rival_binding(COUNT - 1, "front", 80, "*"), 3),
    ];
    for (change, most) in changes {
        let before = mesh.work_counters();
        let ran = mesh.update([input::change(&change)]);
        let effort = mesh.work_counters();
        assert!(ran.len() <= most, "{} units ran after {change}", ran.len());
        assert!(effort.unit_runs - before.unit_runs <= 4, "{change}");
        let claims = effort.claim_reads - before.claim_reads;
        assert!(claims <= 2 * 100 * 100, "{claims} claims were read after {change}");
    }
}

#[test]
fn a_facade_has_the_ports_of_its_oldest_bindings() {
    let mut mesh = translation((0..LIMIT + 2).map(|n| rival_binding(n, "front", port_number(n), "*")));
    let verdict = |mesh: &Translation, n: usize| {
        mesh.verdict(&Unit::ServiceBinding(ObjectKey::new("shop", &format!("b{n}")))).expect("a verdict")
    };
    let ports = |mesh: &Translation| {
        let services = objects_of_kind(mesh, GeneratedKind::Service);
        let ports = to_json(&services[0])["spec"]["ports"].as_array().expect("ports").clone();
        ports.iter().filter_map(|port| port["port"].as_u64()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ports(&mesh), (1..=100).collect());
    for n in 0..LIMIT + 2 {
        let reasons: Vec<_> = verdict(&mesh, n).refusals.iter().map(|problem| problem.reason).collect();
        assert_eq!(reasons, if n < LIMIT { vec![] } else { vec![Reason::LimitExceeded] }, "b{n}");
    }
    let words = verdict(&mesh, LIMIT).refusals[0].to_string();
    assert!(words.contains("shop/front") && words.contains("100") && words.contains("spec.alias"), "{words}");

    let ran = mesh.update([input::removal(&rival_binding(3, "front", port_number(3), "*"))]);
    assert_eq!(ports(&mesh), (1..=101).filter(|port| *port != 4).collect());
    assert!(ran.contains(&Unit::ServiceBinding(ObjectKey::new("shop", "b100"))), "{ran:?}");
    assert!(verdict(&mesh, LIMIT).is_programmed() && !verdict(&mesh, LIMIT + 1).is_programmed());
}

#[test]
fn the_oldest_of_many_expositions_holds_the_server_name() {
    let mesh = translation((0..=LIMIT).map(|n| rival_exposition(n, "front")));
    let reason = |n: usize| {
        let verdict = mesh.verdict(&Unit::ServiceExposition(ObjectKey::new("shop", &format!("e{n}"))));
        verdict.expect("a verdict").refusals.first().map(|problem| problem.reason)
    };
    assert_eq!(reason(0), None);
    assert_eq!(reason(LIMIT - 1), Some(Reason::ServerNameConflict));
    assert_eq!(reason(LIMIT), Some(Reason::LimitExceeded));
}

/// The number of bindings of a namespace in a relationship is limited.
#[test]
fn the_oldest_bindings_of_a_namespace_keep_their_slots_in_a_relationship() {
    const PLACES: usize = 10_000;
    let own = |n: usize| rival_binding(n, &format!("facade-{n}"), 80, "*");
    let mut mesh = translation((0..=PLACES).map(own));
    let elsewhere = binding("bank", "young").fed("blue").port(80).endpoints(["203.0.113.7:15443"]);
    mesh.update([input::change(&elsewhere.uid("999999").build())]);
    let reason = |mesh: &Translation, namespace: &str, name: &str| {
        let verdict =
            mesh.verdict(&Unit::ServiceBinding(ObjectKey::new(namespace, name))).expect("a verdict");
        verdict.refusals.first().map(|problem| problem.reason)
    };
    assert_eq!(reason(&mesh, "shop", "b9999"), None);
    assert_eq!(reason(&mesh, "shop", "b10000"), Some(Reason::LimitExceeded));
    assert_eq!(reason(&mesh, "bank", "young"), None, "another namespace has its own limit");
    let last = Unit::ServiceBinding(ObjectKey::new("shop", "b10000"));
    assert_eq!(
        mesh.objects_of(&last).len()
            + mesh.objects_of(&Unit::Facade(ObjectKey::new("shop", "facade-10000"))).len(),
        0
    );

    let ran = mesh.update([input::removal(&own(7))]);
    assert!(ran.contains(&last), "{ran:?}");
    assert!(mesh.verdict(&last).expect("a verdict").is_programmed());
    assert!(!mesh.objects_of(&Unit::Facade(ObjectKey::new("shop", "facade-10000"))).is_empty());
}

/// One rival: whether it exists, its port, and whether the whole mesh can see it.
type Rival = (bool, u16, bool);

fn any_rival() -> impl Strategy<Value = Rival> {
    // A few rivals are not visible in the whole mesh, and some ports occur twice.
    (prop::bool::weighted(0.95), 1..200_u16, prop::bool::weighted(0.97))
}

fn rival_object((age, (_, port, seen)): (usize, Rival)) -> Value {
    rival_binding(age, "front", port, if seen { "*" } else { "." })
}

/// Returns the rivals that hold a port according to the documented rule. Independent of the code in the core.
fn expected_holders(crowd: &BTreeMap<usize, Rival>) -> BTreeSet<usize> {
    let present: Vec<_> = crowd.iter().filter(|(_, (is_present, ..))| *is_present).take(LIMIT).collect();
    let Some((_, (_, _, seen))) = present.first() else { return BTreeSet::new() };
    let mut taken = BTreeSet::new();
    let first_of_port = present.iter().filter(|(_, (_, port, _))| taken.insert(*port)).collect::<Vec<_>>();
    first_of_port.into_iter().filter(|(_, (.., own))| own == seen).map(|(age, _)| **age).collect()
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn many_rivals_for_one_facade_are_always_ordered_by_age(
        crowd in prop::collection::vec(any_rival(), LIMIT - 10..LIMIT + 20),
        steps in prop::collection::vec((prop_oneof![2 => 0..10_usize, 1 => 0..LIMIT + 20], any_rival()), 0..12),
    ) {
        let mut crowd: BTreeMap<usize, Rival> = crowd.into_iter().enumerate().collect();
        let present = |crowd: &BTreeMap<usize, Rival>| {
            crowd.iter().filter(|(_, (there, ..))| *there).map(|(age, member)| rival_object((*age, *member))).collect::<Vec<_>>()
        };
        let mut followed = translation(present(&crowd));
        let results = |mesh: &Translation| {
            let units = mesh.units().map(|unit| (unit.clone(), (mesh.verdict(unit), mesh.objects_of(unit).len())));
            units.collect::<BTreeMap<_, _>>()
        };
        for (age, new) in steps {
            crowd.insert(age, new);
            let change = rival_object((age, new));
            let before = results(&followed);
            let ran: BTreeSet<_> = followed.update([if new.0 { input::change(&change) } else { input::removal(&change) }]).into_iter().collect();
            let after = results(&followed);
            for unit in before.keys().chain(after.keys()) {
                prop_assert!(before.get(unit) == after.get(unit) || ran.contains(unit), "{}", unit);
            }
            let programmed = after.iter().filter_map(|(unit, (verdict, _))| match unit {
                Unit::ServiceBinding(key) if verdict.as_ref()?.is_programmed() => key.name[1..].parse().ok(),
                _ => None,
            });
            prop_assert_eq!(programmed.collect::<BTreeSet<usize>>(), expected_holders(&crowd));
        }
        prop_assert_eq!(snapshot(&followed), snapshot(&translation(present(&crowd))));
    }
}
