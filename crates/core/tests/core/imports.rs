//! Automatic import. A name belongs to the first peer that announces it, and objects that Emcee does not manage are not
//! changed.

use emcee_api::{ImportMode, Reason};
use emcee_core::catalogue::{Announcement, PeerConnection, PeerKey};
use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases;
use crate::mesh::{self, input};
use crate::peer_inputs::{
    flat_announcement, peer_announces, peer_connected, peer_key, peer_withdraws, sync_state, timestamp,
    with_two_peers,
};
use crate::plan::{objects_of_kind, to_json as written};

pub(crate) const M2: &str = "203.0.113.2:9080";
const M3: &str = "203.0.113.3:9080";

fn with_automatic_import(config: MeshFedConfig) -> MeshFedConfig {
    config.discovery("import", "Automatic").discovery("namespaces", json!(["shop", "bank"]))
}

pub(crate) fn blue_with_import() -> MeshFedConfig {
    with_automatic_import(with_two_peers(flat("blue")))
}

fn only_m2() -> MeshFedConfig {
    with_automatic_import(
        flat("blue").unset("/spec/tls_context_selector").peer(Peer::new("m2", ["m2.example"])),
    )
}

/// A cluster. Generated imports become inputs, and are removed when they are no longer generated.
pub(crate) struct Cluster {
    pub(crate) translation: Translation,
    pub(crate) imports: Vec<Value>,
}

impl Cluster {
    pub(crate) fn new(configs: Vec<MeshFedConfig>) -> Self {
        let mut translation = Translation::new(TranslationSettings::default());
        translation.update(configs.into_iter().map(|config| input::change(&config.build())));
        translation.update(["shop", "bank"].map(|name| InputChange::Namespace(name.into(), true)));
        Self { translation, imports: Vec::new() }
    }

    pub(crate) fn apply_changes(&mut self, changes: impl IntoIterator<Item = InputChange>) -> &mut Self {
        self.translation.update(changes);
        self.feed_back_imports();
        self
    }

    /// Feeds back generated imports until they no longer change.
    fn feed_back_imports(&mut self) {
        for _ in 0..4 {
            let desired = self.generated_imports();
            if desired == self.imports {
                return;
            }
            let gone: Vec<_> = self.imports.iter().filter(|object| !desired.contains(object)).collect();
            self.translation.update(gone.into_iter().map(input::removal));
            self.translation.update(desired.iter().map(input::change));
            self.imports = desired;
        }
        unreachable!("the imports never become stable");
    }

    fn generated_imports(&self) -> Vec<Value> {
        objects_of_kind(&self.translation, GeneratedKind::ServiceBinding).into_iter().map(written).collect()
    }

    /// Returns the cluster after a restart, before any peer has answered.
    pub(crate) fn after_restart(&self, configs: Vec<MeshFedConfig>) -> Self {
        let mut again = Self::new(configs);
        again.translation.update(self.imports.iter().map(input::change));
        again.imports.clone_from(&self.imports);
        again
    }

    /// Returns `<namespace>/<name> <peer>` of each import.
    fn import_summaries(&self) -> Vec<String> {
        let of = |object: &Value| {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            format!("{}/{} {}", text("/metadata/namespace"), text("/metadata/name"), text("/spec/peer"))
        };
        self.imports.iter().map(of).collect()
    }

    fn find_warning(&self, fed: &str, reason: Reason) -> Option<String> {
        let verdict = self.translation.verdict(&Unit::MeshFedConfig(ObjectKey::new(fed, fed)))?;
        let found = verdict.warnings.iter().find(|problem| problem.reason == reason)?;
        Some(found.to_string())
    }
}

fn peer_announces_all(peer: &str, names: &[&str]) -> Vec<InputChange> {
    let all = names.iter().map(|name| {
        let service = ObjectKey::new("shop", name);
        InputChange::Announcement(peer_key(peer), service.clone(), Some(flat_announcement(&service, M2)))
    });
    all.collect()
}

#[test]
fn an_announced_service_is_imported_into_its_own_namespace() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    let [import] = cluster.imports.as_slice() else { panic!("{:?}", cluster.imports) };
    let expected = json!({
        "name": "reviews", "mesh_fed_config_selector": {"fed-config": "blue"}, "peer": "m2",
        "port": 9080, "protocol": "http", "export_to": ["."],
    });
    assert_eq!(import["spec"], expected);
    assert_eq!(import["metadata"]["labels"]["emcee.io/owner-kind"], "MeshFedConfig");
    let verdict = cluster.translation.verdict(&Unit::ServiceBinding(ObjectKey::new("shop", "reviews")));
    assert!(verdict.as_ref().is_some_and(ResourceVerdict::is_ready), "{verdict:?}");
}

fn facade_exports(cluster: &Cluster) -> Vec<String> {
    let facade = Unit::Facade(ObjectKey::new("shop", "reviews"));
    let objects = cluster.translation.objects_of(&facade);
    let written: Vec<_> = objects.iter().map(written).collect();
    let annotation =
        |object: &Value| object["metadata"]["annotations"]["networking.istio.io/exportTo"].clone();
    let field = |object: &Value| object["spec"]["exportTo"][0].clone();
    let all = written.iter().flat_map(|object| [annotation(object), field(object)]);
    all.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// A peer chooses name, port and protocol, so only sidecars in the listed namespaces get a listener for them.
#[test]
fn an_import_is_visible_in_its_namespace_unless_configured_otherwise() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    assert_eq!(facade_exports(&cluster), [".", ".", "."]);
    cluster.apply_changes([input::change(&blue_with_import().discovery("export_to", json!(["*"])).build())]);
    assert_eq!(facade_exports(&cluster), ["*", "*", "*"]);
    cluster.apply_changes([input::change(&blue_with_import().discovery("export_to", json!(["."])).build())]);
    assert_eq!(facade_exports(&cluster), [".", ".", "."]);
}

/// Without identities, any workload of the common root could impersonate the service, and no user allowed that.
#[test]
fn end_to_end_services_without_identity_are_not_imported() {
    let nameless = |mode| {
        let reviews = ObjectKey::new("shop", "reviews");
        let announcement = Announcement { identities: Vec::new(), mode, ..flat_announcement(&reviews, M2) };
        InputChange::Announcement(peer_key("m2"), reviews, Some(announcement))
    };
    for (config, mode) in
        [(flat("blue"), Mode::Flat), (passthrough("blue"), Mode::Passthrough), (wharf("blue"), Mode::Wharf)]
    {
        let mut cluster = Cluster::new(vec![with_automatic_import(with_two_peers(config))]);
        cluster.apply_changes([peer_connected("m2"), nameless(mode)]);
        assert_eq!(cluster.import_summaries(), [""; 0], "{mode}");
        let words = cluster.find_warning("blue", Reason::IdentityNeeded).expect("a warning");
        assert!(words.contains("shop/reviews of peer m2"), "{words}");
        let why = cluster.translation.catalogue_reports()[0].peers[0].announced_by_peer[0]
            .not_imported
            .as_ref()
            .map(|it| it.reason);
        assert_eq!(why, Some(Reason::IdentityNeeded));
    }
    let mut cluster =
        Cluster::new(vec![with_automatic_import(boundary("blue").peer(Peer::new("m2", ["m2.example"])))]);
    cluster.apply_changes([peer_connected("m2"), nameless(Mode::Boundary)]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"], "BOUNDARY checks the peer's gateway");
    // An existing import stays while its service has no pods.
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster
        .apply_changes([peer_connected("m2"), peer_announces("m2", M2)])
        .apply_changes([nameless(Mode::Flat)]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
}

#[test]
fn services_are_imported_into_listed_existing_namespaces_only() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    let elsewhere = ObjectKey::new("kube-system", "reviews");
    let unlisted =
        InputChange::Announcement(peer_key("m2"), elsewhere.clone(), Some(flat_announcement(&elsewhere, M2)));
    cluster.apply_changes([unlisted, peer_announces("m2", M2), InputChange::Namespace("shop".into(), false)]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
    assert!(
        cluster.find_warning("blue", Reason::NamespaceMissing).is_some_and(|words| words.contains("shop"))
    );
    let listing = cluster.translation.catalogue_reports();
    let reasons =
        listing[0].peers[0].announced_by_peer.iter().map(|it| it.not_imported.as_ref().map(|why| why.reason));
    let expected = [Some(Reason::NamespaceNotAllowed), Some(Reason::NamespaceMissing)];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    cluster.apply_changes([InputChange::Namespace("shop".into(), true)]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
    let mut cluster = Cluster::new(vec![blue_with_import().allowed_namespaces(["bank"])]);
    cluster.apply_changes([peer_announces("m2", M2)]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
}

#[test]
fn nothing_is_imported_by_default() {
    let mut cluster = Cluster::new(vec![with_two_peers(flat("blue"))]);
    cluster.apply_changes([peer_announces("m2", M2)]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
    assert_eq!(
        cluster.translation.catalogue_reports()[0].peers[0].announced_by_peer.len(),
        1,
        "the announcement is in the catalogue"
    );
}

#[test]
fn imports_are_removed_by_withdrawal_not_by_connection_loss() {
    let mut cluster = Cluster::new(vec![only_m2()]);
    cluster.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    let lost = PeerConnection::Unreachable { since: timestamp("2026-11-20T00:00:00Z"), error: None };
    cluster.apply_changes([InputChange::Peer(peer_key("m2"), Some(sync_state(lost.clone(), true)))]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
    let mut again = cluster.after_restart(vec![only_m2()]);
    for state in [
        None,
        Some(sync_state(lost, false)),
        Some(sync_state(PeerConnection::Connected(timestamp("2026-11-21T00:00:00Z")), false)),
    ] {
        again.apply_changes([InputChange::Peer(peer_key("m2"), state)]);
        assert_eq!(again.import_summaries(), ["shop/reviews m2"], "the peer has not answered");
    }
    again.apply_changes([peer_connected("m2")]);
    assert_eq!(again.import_summaries(), [""; 0], "the peer has answered, and does not announce the service");
    cluster.apply_changes([peer_withdraws("m2")]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
}

#[test]
fn a_withdrawal_does_not_give_the_name_to_another_peer() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster
        .apply_changes([peer_connected("m2"), peer_connected("m3"), peer_announces("m2", M2)])
        .apply_changes([peer_announces("m3", M3)]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
    let words = cluster.find_warning("blue", Reason::NameHeld).expect("a warning");
    assert!(words.contains("shop/reviews of peer m3"), "{words}");
    cluster.apply_changes([peer_withdraws("m2")]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"], "the name still belongs to m2");
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let verdict = cluster.translation.verdict(&unit).expect("a verdict");
    assert!(!verdict.is_programmed(), "no traffic is routed to the service");
    // A user frees the name by deleting the import.
    let freed = input::removal(&cluster.imports.remove(0));
    cluster.apply_changes([freed]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m3"]);
}

#[test]
fn a_name_is_held_across_relationships() {
    let yellow = || {
        with_automatic_import(
            flat("yellow").unset("/spec/tls_context_selector").peer(Peer::new("m4", ["m4.example"])),
        )
    };
    let m4 = PeerKey::new(ObjectKey::new("yellow", "yellow"), "m4");
    let reviews = ObjectKey::new("shop", "reviews");
    let by_m4 = || {
        let mut announcement = flat_announcement(&reviews, M3);
        announcement.server_name = "reviews.shop.yellow.emcee.internal".into();
        InputChange::Announcement(m4.clone(), reviews.clone(), Some(announcement))
    };
    let mut cluster = Cluster::new(vec![only_m2(), yellow()]);
    cluster
        .apply_changes([peer_connected("m2"), peer_announces("m2", M2)])
        .apply_changes([by_m4()])
        .apply_changes([peer_withdraws("m2")]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
    assert!(cluster.find_warning("yellow", Reason::NameHeld).is_some());
    // If both announce it at once, the older relationship holds the name, in any order of evaluation.
    for (blue, yellow_age, expected) in [("1", "2", "shop/reviews m2"), ("2", "1", "shop/reviews m4")] {
        let at = |day: &str| format!("2026-01-0{day}T00:00:00Z");
        let configs = vec![only_m2().created(&at(blue)), yellow().created(&at(yellow_age))];
        let mut cluster = Cluster::new(configs);
        cluster.apply_changes([peer_announces("m2", M2), by_m4()]);
        assert_eq!(cluster.import_summaries(), [expected]);
    }
}

#[test]
fn names_in_use_are_not_imported() {
    let own = binding("shop", "reviews").fed("blue").endpoints(["198.51.100.1:1"]).port(80).build();
    let by_alias =
        binding("shop", "other").fed("blue").alias("reviews").endpoints(["198.51.100.1:1"]).port(80).build();
    let foreign = service("shop", "reviews").port("http", 80).build();
    for object in [own, by_alias, foreign] {
        let mut cluster = Cluster::new(vec![blue_with_import()]);
        cluster.apply_changes([input::change(&object), peer_announces("m2", M2)]);
        assert_eq!(cluster.import_summaries(), [""; 0], "{object}");
        assert!(cluster.find_warning("blue", Reason::NameHeld).is_some());
        cluster.apply_changes([input::removal(&object)]);
        assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
    }
    // The announced name is not a valid name of a Service.
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes(peer_announces_all("m2", &["1st"]));
    assert_eq!(cluster.import_summaries(), [""; 0]);
    assert!(cluster.find_warning("blue", Reason::Invalid).is_some_and(|words| words.contains("1st")));
}

#[test]
fn imports_are_limited_and_the_oldest_stay() {
    let two = || only_m2().discovery("max_imports", 2);
    let mut cluster = Cluster::new(vec![two()]);
    cluster
        .apply_changes(peer_announces_all("m2", &["m", "n"]))
        .apply_changes(peer_announces_all("m2", &["a", "b"]));
    assert_eq!(cluster.import_summaries(), ["shop/m m2", "shop/n m2"]);
    let words = cluster.find_warning("blue", Reason::ImportLimit).expect("a warning");
    assert!(words.contains("shop/a") && words.contains("max_imports"), "{words}");
    let gone = InputChange::Announcement(peer_key("m2"), ObjectKey::new("shop", "m"), None);
    cluster.apply_changes([peer_connected("m2"), gone]);
    assert_eq!(cluster.import_summaries(), ["shop/a m2", "shop/n m2"]);
    cluster.apply_changes([input::change(&two().discovery("max_imports", 0).build())]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
}

#[test]
fn switching_to_manual_removes_the_imports() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes([peer_announces("m2", M2)]);
    cluster.apply_changes([input::change(&blue_with_import().discovery("import", "Manual").build())]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
    cluster.apply_changes([input::change(&blue_with_import().build())]);
    assert_eq!(cluster.import_summaries(), ["shop/reviews m2"]);
    cluster.apply_changes([input::removal(&blue_with_import().build())]);
    assert_eq!(cluster.import_summaries(), [""; 0]);
}

/// Without an API server, no watch returns the generated imports as inputs.
#[test]
fn without_an_api_server_imports_are_in_place() {
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    let mut translation = Translation::from_changes(settings, [input::change(&blue_with_import().build())]);
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let peer = |translation: &Translation| {
        let imports: Vec<_> =
            objects_of_kind(translation, GeneratedKind::ServiceBinding).into_iter().map(written).collect();
        imports.iter().map(|import| import["spec"]["peer"].to_string()).collect::<String>()
    };
    translation.update([peer_connected("m2"), peer_connected("m3"), peer_announces("m3", M3)]);
    translation.update([peer_announces("m2", M2)]);
    assert_eq!(peer(&translation), "\"m3\"", "m3 announced it first");
    assert!(translation.verdict(&unit).as_ref().is_some_and(ResourceVerdict::is_programmed));
    translation.update([peer_withdraws("m3")]);
    assert_eq!(peer(&translation), "\"m3\"");
    // A user frees the name by removing the relationship's imports, and the next peer holds it at once.
    translation.update([
        input::change(&blue_with_import().discovery("namespaces", json!(["bank"])).build()),
        input::change(&blue_with_import().build()),
    ]);
    translation.update([input::change(&blue_with_import().discovery("namespaces", json!(["bank"])).build())]);
    assert_eq!((peer(&translation).as_str(), translation.verdict(&unit)), ("", None));
    translation.update([input::change(&blue_with_import().build())]);
    assert_eq!(peer(&translation), "\"m2\"");
}

/// A name that one relationship frees is imported by another one in the same update.
#[test]
fn in_files_a_freed_name_is_imported_at_once() {
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    let mut translation = Translation::from_changes(settings, [input::change(&only_m2().build())]);
    translation.update([peer_announces("m2", M2)]);
    let m4 = PeerKey::new(ObjectKey::new("yellow", "yellow"), "m4");
    let yellow = with_automatic_import(
        flat("yellow").unset("/spec/tls_context_selector").peer(Peer::new("m4", ["m4.example"])),
    );
    let reviews = ObjectKey::new("shop", "reviews");
    translation.update([
        input::change(&yellow.build()),
        InputChange::Announcement(m4, reviews.clone(), Some(flat_announcement(&reviews, M3))),
    ]);
    translation.update([input::removal(&only_m2().build())]);
    let [import] = &objects_of_kind(&translation, GeneratedKind::ServiceBinding)[..] else {
        panic!("one import")
    };
    assert_eq!(written(import)["spec"]["peer"], "m4");
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn imports_comply_with_their_relationship(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        for (key, config) in translation.inputs().fed_configs() {
            let objects = translation.objects_of(&Unit::Imports(key.clone()));
            let Ok(config) = config else { continue };
            let discovery = &config.discovery;
            prop_assert!(objects.len() <= discovery.max_imports);
            for object in objects {
                prop_assert_eq!(discovery.import, ImportMode::Automatic);
                prop_assert!(discovery.namespaces.contains(&*object.namespace), "{:?}", object);
                prop_assert!(config.allows_namespace(&object.namespace));
                let import = written(object);
                let peer = import["spec"]["peer"].as_str().unwrap_or_default();
                prop_assert!(config.peers.iter().any(|listed| listed.name == peer), "{}", import);
            }
        }
        // An import never has the name of a user's binding.
        for given in mesh.of_kind("ServiceBinding").filter(|given| given["metadata"]["labels"].is_null()) {
            let key = input::key(given);
            let over = |object: &emcee_core::plan::GeneratedObject| *object.namespace == *key.namespace && *object.name == *key.name;
            prop_assert!(!objects_of_kind(&translation, GeneratedKind::ServiceBinding).iter().any(over), "{}", given);
        }
    }

    /// Imports do not change when the API server returns them as inputs.
    #[test]
    fn imports_are_stable(mesh in mesh::mesh()) {
        let mut settings = mesh.settings.clone();
        settings.coverage = InputCoverage::Complete;
        let mut translation = Translation::from_changes(settings, mesh.changes());
        let imports = |translation: &Translation| -> Vec<Value> {
            objects_of_kind(translation, GeneratedKind::ServiceBinding).into_iter().map(written).collect()
        };
        let wanted = imports(&translation);
        let is_there = |import: &&Value| mesh.of_kind("ServiceBinding").any(|given| input::key(given) == input::key(import));
        let new: Vec<_> = wanted.iter().filter(|import| !is_there(import)).map(input::change).collect();
        translation.update(new);
        prop_assert_eq!(imports(&translation), wanted);
    }
}
