//! File mode judges the versions of an object as a controller does.

use std::sync::LazyLock;

use emcee_core::catalogue::{Announcement, PeerKey};
use emcee_core::inputs::InputCoverage;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::plan::GeneratedObject;
use emcee_core::protocol::Protocol;
use emcee_core::translate::LastGood;
use emcee_testkit::prelude::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::*;

/// A time at which the valid certificates of these tests are valid.
const NOW: &str = "2026-06-01T00:00:00Z";
/// A time at which only the certificates of the year 2100 are valid.
const LATER: &str = "2100-06-01T00:00:00Z";

fn timestamp(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn settings_at(now: &str) -> TranslationSettings {
    TranslationSettings {
        coverage: InputCoverage::Partial,
        now: timestamp(now),
        ..TranslationSettings::default()
    }
}

/// Successive contents of an input directory.
struct InputHistory {
    reconciler: FileReconciler,
    /// Messages that the last step printed.
    messages: String,
}

impl InputHistory {
    fn new() -> Self {
        Self { reconciler: FileReconciler::new(settings_at(NOW)), messages: String::new() }
    }

    /// Reads these files: name and text.
    fn read_files(&mut self, files: &[(&str, String)]) {
        let mut reading = LoadedManifests::default();
        for (file, text) in files {
            let one = emcee_yaml::read_text(file, text.as_bytes());
            reading.documents.extend(one.documents);
            reading.problems.extend(one.problems);
        }
        self.print_step(|reconciler, console| reconciler.reconcile(&reading, console));
    }

    fn apply_peer_changes(&mut self, changes: Vec<InputChange>) {
        self.print_step(|reconciler, console| reconciler.apply_peer_changes(changes, console));
    }

    fn print_step(&mut self, step: impl FnOnce(&mut FileReconciler, &mut Console<'_>) -> io::Result<()>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        step(&mut self.reconciler, &mut Console::new(&mut out, &mut err)).expect("a buffer accepts all text");
        self.messages = String::from_utf8(err).expect("UTF-8");
    }

    #[track_caller]
    fn verdict(&self, resource: &str) -> ResourceVerdict {
        let mut verdicts = self.reconciler.verdicts().into_iter();
        verdicts.find(|(of, _)| of.to_string() == resource).expect("a verdict").1
    }

    /// Returns what is wrong with the certificate of relationship blue; empty if nothing is.
    #[track_caller]
    fn certificate_problem(&self) -> String {
        let certificate = self.verdict("MeshFedConfig blue/blue").certificate.expect("it selects a Secret");
        certificate.err().map(|problem| problem.message).unwrap_or_default()
    }
}

/// Returns the Secret of relationship blue, with gateways using it in place.
fn blue_secret(pair: &TlsPair) -> Value {
    secret_tls("blue", "source").label("relationship", "blue").pair(pair).build()
}

fn issue(leaf: &Leaf) -> TlsPair {
    Ca::shared("blue").issue(leaf)
}

fn blue_leaf() -> Leaf {
    Leaf::dns("m1.blue.example")
}

fn file<'n>(name: &'n str, object: &impl ToString) -> (&'n str, String) {
    (name, object.to_string())
}

/// An invalid resource becomes a file that is no YAML any more. The last thing known about it is that it is refused.
#[test]
fn a_refused_version_stays_reported_while_its_file_cannot_be_parsed() {
    let good = binding("shop", "reviews").fed("flat").endpoints(["203.0.113.9:15443"]).port(80);
    let config = file("flat.json", &flat("flat").build());
    let mut history = InputHistory::new();
    history.read_files(&[config.clone(), file("reviews.json", &good.clone().build())]);
    history.read_files(&[config.clone(), file("reviews.json", &good.port(0).build())]);
    let refused = history.verdict("ServiceBinding shop/reviews");
    assert!(refused.keeps_last_good && !refused.is_accepted());
    history.read_files(&[config, file("reviews.json", &"{")]);
    assert_eq!(history.verdict("ServiceBinding shop/reviews"), refused);
}

#[test]
fn a_broken_secret_stays_reported_while_its_file_cannot_be_parsed() {
    let config = file("blue.json", &boundary("blue").build());
    let pair = issue(&blue_leaf());
    let mut history = InputHistory::new();
    history.read_files(&[config.clone(), file("secret.json", &blue_secret(&pair))]);
    assert_eq!(history.certificate_problem(), "");
    history.read_files(&[config.clone(), file("secret.json", &blue_secret(&pair.with_wrong_key()))]);
    let problem = history.certificate_problem();
    assert!(problem.starts_with("Secret blue/source: data.tls.key "), "{problem}");
    assert!(problem.ends_with("; the last good one stays in place"), "{problem}");
    history.read_files(&[config, file("secret.json", &"{")]);
    assert_eq!(history.certificate_problem(), problem);
}

/// No version of the Secret has been good, so the newest is in place, and the status names its problem.
#[test]
fn the_newest_of_several_broken_secrets_is_reported() {
    let config = file("blue.json", &boundary("blue").build());
    let pair = issue(&blue_leaf());
    let mut history = InputHistory::new();
    history.read_files(&[config.clone(), file("secret.json", &blue_secret(&pair.clone().with_wrong_key()))]);
    let problem = history.certificate_problem();
    assert!(problem.contains("data.tls.key"), "{problem}");
    history.read_files(&[config, file("secret.json", &blue_secret(&pair.with_ca(Ca::shared("red"))))]);
    let problem = history.certificate_problem();
    assert!(problem.contains("data.tls.crt") && !problem.contains("data.tls.key"), "{problem}");
}

/// The file of the Secret does not change when its certificate becomes valid.
#[test]
fn a_certificate_is_used_as_soon_as_it_is_valid() {
    let config = file("blue.json", &boundary("blue").build());
    let mut history = InputHistory::new();
    history.read_files(&[config.clone(), file("secret.json", &blue_secret(&issue(&blue_leaf())))]);
    let next = blue_secret(&issue(&blue_leaf().not_yet_valid()));
    history.read_files(&[config, file("secret.json", &next)]);
    assert!(history.certificate_problem().contains("not valid before 2100-01-01"));
    assert!(history.reconciler.set_time(timestamp(LATER)), "a verdict has changed");
    assert_eq!(history.certificate_problem(), "");
}

#[test]
fn a_removed_secret_no_longer_replaces_the_ca() {
    let files = [
        file("blue.json", &boundary("blue").build()),
        file("secret.json", &blue_secret(&issue(&blue_leaf()))),
    ];
    let shadow =
        file("shadow.json", &emcee_testkit::objects::secret::secret("blue", "source-cacert").build());
    let mut history = InputHistory::new();
    history.read_files(&[files.as_slice(), &[shadow]].concat());
    assert!(history.certificate_problem().contains("blue/source-cacert"));
    history.read_files(&files);
    assert_eq!(history.certificate_problem(), "");
}

/// A peer withdraws the service of a binding whose newest version is refused.
#[test]
fn the_message_about_a_kept_version_follows_the_peers() {
    let config = flat("flat").peer(Peer::new("m2", ["m2.example"]).trust_domains(["m2.example"])).build();
    let config = file("flat.json", &config);
    let good = binding("shop", "reviews").fed("flat").port(80);
    let (peer, service) =
        (PeerKey::new(ObjectKey::new("flat", "flat"), "m2"), ObjectKey::new("shop", "reviews"));
    let announcement = Announcement {
        key: service.clone(),
        mode: Mode::Flat,
        server_name: "reviews.shop.flat.emcee.internal".into(),
        protocol: Protocol::Http,
        port: 80,
        endpoints: vec!["203.0.113.9:8080".parse().expect("an endpoint")],
        identities: vec!["spiffe://m2.example/ns/shop/sa/reviews".into()],
        trust_domain: "m2.example".into(),
        root_hash: None,
    };
    let mut history = InputHistory::new();
    history.read_files(&[config.clone(), file("reviews.json", &good.clone().build())]);
    history.apply_peer_changes(vec![InputChange::Announcement(
        peer.clone(),
        service.clone(),
        Some(announcement),
    )]);
    let verdict = history.verdict("ServiceBinding shop/reviews");
    assert!(verdict.is_programmed(), "{verdict:?}");
    history.read_files(&[config, file("reviews.json", &good.port(0).build())]);
    assert!(
        history.messages.contains("kept: ServiceBinding shop/reviews: its last good version stays in place"),
        "{}",
        history.messages
    );
    history.apply_peer_changes(vec![InputChange::Announcement(peer, service, None)]);
    assert!(!history.verdict("ServiceBinding shop/reviews").is_programmed());
    assert!(
        history.messages.contains(
            "kept: ServiceBinding shop/reviews: its last good version is used, but its objects are not in place"
        ),
        "{}",
        history.messages
    );
}

/// Versions of one object. `None`: the object does not exist.
type ObjectVersions = Vec<Option<Value>>;

/// The objects of the histories below, with a file name for each.
static OBJECTS: LazyLock<Vec<(&str, ObjectVersions)>> = LazyLock::new(|| {
    vec![
        ("config.json", config_versions()),
        ("secret.json", secret_versions()),
        ("shadow.json", shadow_versions()),
        ("service.json", service_versions()),
        ("exposition.json", exposition_versions()),
        ("binding.json", binding_versions()),
    ]
});

fn config_versions() -> ObjectVersions {
    let good = boundary("blue");
    vec![
        None,
        Some(good.clone().build()),
        Some(good.clone().unset("/spec/tls_context_selector").build()),
        Some(good.mode("BOUNDARIES").build()),
    ]
}

fn secret_versions() -> ObjectVersions {
    let pair = issue(&blue_leaf());
    let labelled = [
        pair.clone(),
        issue(&blue_leaf()),
        pair.clone().with_wrong_key(),
        pair.clone().with_ca(Ca::shared("red")),
        issue(&blue_leaf().expired()),
        issue(&blue_leaf().not_yet_valid()),
    ];
    let unlabelled = [pair.clone(), pair.clone().with_wrong_key()];
    let unlabelled = unlabelled.map(|pair| Some(secret_tls("blue", "source").pair(&pair).build()));
    let other_type = secret_tls("blue", "source").label("relationship", "blue").set("/type", "Opaque");
    let labelled = labelled.iter().map(|pair| Some(blue_secret(pair)));
    labelled.chain(unlabelled).chain([None, Some(other_type.build())]).collect()
}

fn shadow_versions() -> ObjectVersions {
    vec![None, Some(emcee_testkit::objects::secret::secret("blue", "source-cacert").build())]
}

fn service_versions() -> ObjectVersions {
    let of_port = |port| service("shop", "reviews").port("http", port).selector([("app", "reviews")]);
    vec![
        None,
        Some(of_port(80).build()),
        Some(of_port(81).build()),
        Some(of_port(80).label("emcee.io/expose", "blue").build()),
    ]
}

fn exposition_versions() -> ObjectVersions {
    let good = exposition("shop", "reviews").fed("blue").port(80);
    vec![None, Some(good.clone().build()), Some(good.port(0).build())]
}

fn binding_versions() -> ObjectVersions {
    let good = binding("bank", "details").fed("blue").endpoints(["203.0.113.9:15443"]).port(80);
    vec![
        None,
        Some(good.clone().build()),
        Some(good.clone().alias("more").build()),
        Some(good.port(0).build()),
    ]
}

/// Returns the changes that watches report when an object gets another version.
fn watch_changes(old: Option<&Value>, new: Option<&Value>) -> Vec<InputChange> {
    let changes = |object: &Value| {
        let reading = emcee_yaml::read_text("object.json", object.to_string().as_bytes());
        DocumentInputs::from_documents(&reading.documents, "cluster.local").changes
    };
    match (old, new) {
        (_, Some(new)) => changes(new),
        (Some(old), None) => {
            let ids = changes(old);
            ids.iter().filter_map(InputId::from_change).map(|id| id.removal_change()).collect()
        }
        (None, None) => Vec::new(),
    }
}

/// Returns the verdicts on the resources with a status of their own.
fn status_verdicts(last_good: &LastGood) -> Vec<(ObjectRef, ResourceVerdict)> {
    let verdicts = last_good.verdicts().into_iter();
    let own = verdicts.filter(|(unit, _)| !matches!(unit, Unit::AutomaticExposition(_) | Unit::Imports(_)));
    own.filter_map(|(unit, verdict)| Some((unit.resource()?, verdict))).collect()
}

fn objects_of(translation: &Translation) -> Vec<Value> {
    translation.objects().iter().map(GeneratedObject::to_json).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each step gives one object another version, or changes the time. After each step, file mode has the objects and
    /// the verdicts that a controller with the same history has.
    #[test]
    fn a_history_has_the_outcome_that_it_has_in_a_cluster(
        steps in vec((0..=OBJECTS.len(), any::<Index>()), 1..16)
    ) {
        let mut current: ObjectVersions = vec![None; OBJECTS.len()];
        let (mut history, mut cluster) = (InputHistory::new(), LastGood::new(settings_at(NOW)));
        for (place, version) in steps {
            if let Some((_, versions)) = OBJECTS.get(place) {
                let next = version.get(versions).clone();
                cluster.update(watch_changes(current[place].as_ref(), next.as_ref()));
                current[place] = next;
                let present = OBJECTS.iter().zip(&current);
                let files: Vec<_> =
                    present.filter_map(|((name, _), object)| Some(file(name, object.as_ref()?))).collect();
                history.read_files(&files);
            } else {
                let now = *version.get(&[NOW, LATER]);
                cluster.set_settings(settings_at(now));
                history.reconciler.set_time(timestamp(now));
            }
            prop_assert_eq!(history.reconciler.verdicts(), status_verdicts(&cluster));
            prop_assert_eq!(objects_of(history.reconciler.translation()), objects_of(cluster.translation()));
        }
    }
}
