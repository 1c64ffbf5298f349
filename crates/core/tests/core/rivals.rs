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
use crate::mesh::intake;
use crate::plan::{json, of_kind, snapshot};

/// Maximum bindings of a facade.
const LIMIT: usize = 100;

fn relationship() -> Value {
    flat("blue").unset("/spec/tls_context_selector").build()
}

/// Builds binding number `age`. 0 is the oldest.
fn bound(age: usize, facade: &str, port: u16, export_to: &str) -> Value {
    binding("shop", &format!("b{age}"))
        .fed("blue")
        .to("shop", &format!("remote-{age}"))
        .alias(facade)
        .port(port)
        .export_to([export_to])
        .endpoints(["203.0.113.7:15443"])
        .uid(&format!("{age:06}"))
        .build()
}

fn port(number: usize) -> u16 {
    u16::try_from(1 + number).expect("a port")
}

fn exposed(age: usize, alias: &str) -> Value {
    let exposition = exposition("shop", &format!("e{age}")).fed("blue").of("reviews").port(80);
    exposition.alias(alias).uid(&format!("{age:06}")).build()
}

fn translation(objects: impl IntoIterator<Item = Value>) -> Translation {
    let changes: Vec<InputChange> =
        [relationship()].into_iter().chain(objects).map(|it| intake::change(&it)).collect();
    Translation::from_changes(TranslationSettings::default(), changes)
}

/// Counts the work of a translation whose objects and verdicts are read once, as `emcee render` does.
fn effort_of(objects: impl IntoIterator<Item = Value>) -> WorkCounters {
    let translation = translation(objects);
    let (objects, verdicts) = (translation.objects(), translation.verdicts());
    assert!(!verdicts.is_empty() && objects.len() < 10 * verdicts.len());
    translation.work_counters()
}

/// Counts the work of `count` bindings in facades of `of` bindings each.
fn in_facades(count: usize, of: usize) -> WorkCounters {
    effort_of((0..count).map(|n| bound(n, &format!("facade-{}", n / of), port(n % of), "*")))
}

fn with_names(count: usize, of: usize) -> WorkCounters {
    effort_of((0..count).map(|n| exposed(n, &format!("name-{}", n / of))))
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
fn bindings_of_one_facade_cost_what_independent_ones_do() {
    assert_cheap("facades", in_facades, [400, 1600]);
}

#[test]
fn expositions_of_one_server_name_cost_what_independent_ones_do() {
    assert_cheap("server names", with_names, [400, 1600]);
}

/// A change of one of many rivals affects only the rivals that are compared.
#[test]
fn a_change_of_one_concerns_no_more_than_are_compared() {
    const COUNT: usize = 1000;
    let mut mesh = translation((0..COUNT).map(|n| bound(n, "front", port(n), "*")));
    let changes = [
        (bound(0, "front", port(0), "."), LIMIT + 2),
        (bound(0, "front", port(0), "*"), LIMIT + 2),
        (bound(0, "front", 5000, "*"), 3),
        (bound(50, "other", 80, "*"), 4),
        (bound(COUNT - 1, "front", 80, "*"), 2),
    ];
    for (change, most) in changes {
        let before = mesh.work_counters();
        let ran = mesh.update([intake::change(&change)]);
        let effort = mesh.work_counters();
        assert!(ran.len() <= most, "{} units ran after {change}", ran.len());
        assert!(effort.unit_runs - before.unit_runs <= 3, "{change}");
        let claims = effort.claim_reads - before.claim_reads;
        assert!(claims <= 2 * 100 * 100, "{claims} claims were read after {change}");
    }
}

#[test]
fn a_facade_has_the_ports_of_its_oldest_bindings() {
    let mut mesh = translation((0..LIMIT + 2).map(|n| bound(n, "front", port(n), "*")));
    let verdict = |mesh: &Translation, n: usize| {
        mesh.verdict(&Unit::ServiceBinding(ObjectKey::new("shop", &format!("b{n}")))).expect("a verdict")
    };
    let ports = |mesh: &Translation| {
        let services = of_kind(mesh, GeneratedKind::Service);
        let ports = json(&services[0])["spec"]["ports"].as_array().expect("ports").clone();
        ports.iter().filter_map(|port| port["port"].as_u64()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ports(&mesh), (1..=100).collect());
    for n in 0..LIMIT + 2 {
        let reasons: Vec<_> = verdict(&mesh, n).refusals.iter().map(|problem| problem.reason).collect();
        assert_eq!(reasons, if n < LIMIT { vec![] } else { vec![Reason::LimitExceeded] }, "b{n}");
    }
    let words = verdict(&mesh, LIMIT).refusals[0].to_string();
    assert!(words.contains("shop/front") && words.contains("100") && words.contains("spec.alias"), "{words}");

    let ran = mesh.update([intake::removal(&bound(3, "front", port(3), "*"))]);
    assert_eq!(ports(&mesh), (1..=101).filter(|port| *port != 4).collect());
    assert!(ran.contains(&Unit::ServiceBinding(ObjectKey::new("shop", "b100"))), "{ran:?}");
    assert!(verdict(&mesh, LIMIT).is_programmed() && !verdict(&mesh, LIMIT + 1).is_programmed());
}

#[test]
fn of_very_many_expositions_of_one_name_the_oldest_has_it() {
    let mesh = translation((0..=LIMIT).map(|n| exposed(n, "front")));
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
fn the_oldest_of_a_namespace_keep_their_places_in_a_relationship() {
    const PLACES: usize = 10_000;
    let own = |n: usize| bound(n, &format!("facade-{n}"), 80, "*");
    let mut mesh = translation((0..=PLACES).map(own));
    let elsewhere = binding("bank", "young").fed("blue").port(80).endpoints(["203.0.113.7:15443"]);
    mesh.update([intake::change(&elsewhere.uid("999999").build())]);
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

    let ran = mesh.update([intake::removal(&own(7))]);
    assert!(ran.contains(&last), "{ran:?}");
    assert!(mesh.verdict(&last).expect("a verdict").is_programmed());
    assert!(!mesh.objects_of(&Unit::Facade(ObjectKey::new("shop", "facade-10000"))).is_empty());
}

/// One rival: whether it exists, its port, and whether the whole mesh can see it.
type Member = (bool, u16, bool);

fn member() -> impl Strategy<Value = Member> {
    // A few rivals are not visible in the whole mesh, and some ports occur twice.
    (prop::bool::weighted(0.95), 1..200_u16, prop::bool::weighted(0.97))
}

fn object((age, (_, port, seen)): (usize, Member)) -> Value {
    bound(age, "front", port, if seen { "*" } else { "." })
}

/// Returns the rivals that hold a port according to the documented rule. Independent of the code in the core.
fn holders(crowd: &BTreeMap<usize, Member>) -> BTreeSet<usize> {
    let there: Vec<_> = crowd.iter().filter(|(_, (there, ..))| *there).take(LIMIT).collect();
    let Some((_, (_, _, seen))) = there.first() else { return BTreeSet::new() };
    let mut taken = BTreeSet::new();
    let first_of_port = there.iter().filter(|(_, (_, port, _))| taken.insert(*port)).collect::<Vec<_>>();
    first_of_port.into_iter().filter(|(_, (.., own))| own == seen).map(|(age, _)| **age).collect()
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn many_rivals_for_one_facade_are_always_ordered_by_age(
        crowd in prop::collection::vec(member(), LIMIT - 10..LIMIT + 20),
        steps in prop::collection::vec((prop_oneof![2 => 0..10_usize, 1 => 0..LIMIT + 20], member()), 0..12),
    ) {
        let mut crowd: BTreeMap<usize, Member> = crowd.into_iter().enumerate().collect();
        let present = |crowd: &BTreeMap<usize, Member>| {
            crowd.iter().filter(|(_, (there, ..))| *there).map(|(age, member)| object((*age, *member))).collect::<Vec<_>>()
        };
        let mut followed = translation(present(&crowd));
        let results = |mesh: &Translation| {
            let units = mesh.units().map(|unit| (unit.clone(), (mesh.verdict(unit), mesh.objects_of(unit).len())));
            units.collect::<BTreeMap<_, _>>()
        };
        for (age, new) in steps {
            crowd.insert(age, new);
            let change = object((age, new));
            let before = results(&followed);
            let ran: BTreeSet<_> = followed.update([if new.0 { intake::change(&change) } else { intake::removal(&change) }]).into_iter().collect();
            let after = results(&followed);
            for unit in before.keys().chain(after.keys()) {
                prop_assert!(before.get(unit) == after.get(unit) || ran.contains(unit), "{}", unit);
            }
            let programmed = after.iter().filter_map(|(unit, (verdict, _))| match unit {
                Unit::ServiceBinding(key) if verdict.as_ref()?.is_programmed() => key.name[1..].parse().ok(),
                _ => None,
            });
            prop_assert_eq!(programmed.collect::<BTreeSet<usize>>(), holders(&crowd));
        }
        prop_assert_eq!(snapshot(&followed), snapshot(&translation(present(&crowd))));
    }
}
