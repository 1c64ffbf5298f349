//! Automatic import. A name belongs to the first peer that announces it, and objects that Emcee does not manage are not
//! changed.

use emcee_api::{ImportMode, Reason};
use emcee_core::catalogue::{Announcement, PeerConnection, PeerKey};
use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::plan::GeneratedKind;
use emcee_core::protocol::Protocol;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::announcements::{announces, at, connected, offer, source, state, takes_back, two_peers};
use crate::cases;
use crate::mesh::{self, intake};
use crate::plan::{json as written, of_kind};

const M2: &str = "203.0.113.2:9080";
const M3: &str = "203.0.113.3:9080";

fn automatic(config: MeshFedConfig) -> MeshFedConfig {
    config.discovery("import", "Automatic").discovery("namespaces", json!(["shop", "bank"]))
}

fn blue() -> MeshFedConfig {
    automatic(two_peers(flat("blue")))
}

fn only_m2() -> MeshFedConfig {
    automatic(flat("blue").unset("/spec/tls_context_selector").peer(Peer::new("m2", ["m2.example"])))
}

/// A cluster. Generated imports become inputs, and are removed when they are no longer generated.
struct Cluster {
    translation: Translation,
    there: Vec<Value>,
}

impl Cluster {
    fn new(configs: Vec<MeshFedConfig>) -> Self {
        let mut translation = Translation::new(TranslationSettings::default());
        translation.update(configs.into_iter().map(|config| intake::change(&config.build())));
        translation.update(["shop", "bank"].map(|name| InputChange::Namespace(name.into(), true)));
        Self { translation, there: Vec::new() }
    }

    fn hear(&mut self, changes: impl IntoIterator<Item = InputChange>) -> &mut Self {
        self.translation.update(changes);
        self.settle();
        self
    }

    /// Feeds back generated imports until they no longer change.
    fn settle(&mut self) {
        for _ in 0..4 {
            let wanted = self.wanted();
            if wanted == self.there {
                return;
            }
            let gone: Vec<_> = self.there.iter().filter(|object| !wanted.contains(object)).collect();
            self.translation.update(gone.into_iter().map(intake::removal));
            self.translation.update(wanted.iter().map(intake::change));
            self.there = wanted;
        }
        unreachable!("the imports never become stable");
    }

    fn wanted(&self) -> Vec<Value> {
        of_kind(&self.translation, GeneratedKind::ServiceBinding).into_iter().map(written).collect()
    }

    /// Returns the cluster after a restart, before any peer has answered.
    fn restarted(&self, configs: Vec<MeshFedConfig>) -> Self {
        let mut again = Self::new(configs);
        again.translation.update(self.there.iter().map(intake::change));
        again.there.clone_from(&self.there);
        again
    }

    /// Returns `<namespace>/<name> <peer>` of each import.
    fn imports(&self) -> Vec<String> {
        let of = |object: &Value| {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            format!("{}/{} {}", text("/metadata/namespace"), text("/metadata/name"), text("/spec/peer"))
        };
        self.there.iter().map(of).collect()
    }

    fn warns(&self, fed: &str, reason: Reason) -> Option<String> {
        let verdict = self.translation.verdict(&Unit::MeshFedConfig(ObjectKey::new(fed, fed)))?;
        let found = verdict.warnings.iter().find(|problem| problem.reason == reason)?;
        Some(found.to_string())
    }
}

fn announces_all(peer: &str, names: &[&str]) -> Vec<InputChange> {
    let all = names.iter().map(|name| {
        let service = ObjectKey::new("shop", name);
        InputChange::Announcement(source(peer), service.clone(), Some(offer(&service, M2)))
    });
    all.collect()
}

#[test]
fn what_is_announced_is_bound_in_its_own_namespace() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), announces("m2", M2)]);
    let [import] = cluster.there.as_slice() else { panic!("{:?}", cluster.there) };
    let wanted = json!({
        "name": "reviews", "mesh_fed_config_selector": {"fed-config": "blue"}, "peer": "m2",
        "port": 9080, "protocol": "http", "export_to": ["."],
    });
    assert_eq!(import["spec"], wanted);
    assert_eq!(import["metadata"]["labels"]["emcee.io/owner-kind"], "MeshFedConfig");
    let verdict = cluster.translation.verdict(&Unit::ServiceBinding(ObjectKey::new("shop", "reviews")));
    assert!(verdict.as_ref().is_some_and(ResourceVerdict::is_ready), "{verdict:?}");
}

fn exports_of(cluster: &Cluster) -> Vec<String> {
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
fn an_import_is_seen_in_its_namespace_unless_the_administrator_says_otherwise() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), announces("m2", M2)]);
    assert_eq!(exports_of(&cluster), [".", "."]);
    cluster.hear([intake::change(&blue().discovery("export_to", json!(["*"])).build())]);
    assert_eq!(exports_of(&cluster), ["*", "*"]);
    cluster.hear([intake::change(&blue().discovery("export_to", json!(["."])).build())]);
    assert_eq!(exports_of(&cluster), [".", "."]);
}

fn announces_as(peer: &str, port: u16, protocol: Protocol) -> InputChange {
    let reviews = ObjectKey::new("shop", "reviews");
    let offer = Announcement { port, protocol, ..offer(&reviews, M2) };
    InputChange::Announcement(source(peer), reviews, Some(offer))
}

fn port_and_protocol(cluster: &Cluster) -> String {
    let objects = cluster.translation.objects_of(&Unit::Facade(ObjectKey::new("shop", "reviews")));
    let service = objects.iter().map(written).find(|object| object["kind"] == "Service").expect("a facade");
    let port = &service["spec"]["ports"][0];
    format!("{} {}", port["port"], port["appProtocol"])
}

fn changed(cluster: &Cluster) -> Option<String> {
    let verdict = cluster.translation.verdict(&Unit::ServiceBinding(ObjectKey::new("shop", "reviews")))?;
    assert!(verdict.is_programmed(), "{verdict:?}");
    verdict.warnings.into_iter().find(|it| it.reason == Reason::AnnouncementChanged).map(|it| it.message)
}

/// Applications call an import by its port, and sidecars treat that port by its protocol.
#[test]
fn a_peer_does_not_change_an_imports_port_or_protocol() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), announces_as("m2", 9080, Protocol::Tcp)]);
    assert_eq!((port_and_protocol(&cluster), changed(&cluster)), ("9080 \"tcp\"".into(), None));
    for (port, protocol) in [(3306, Protocol::Tcp), (9080, Protocol::Http), (3306, Protocol::Http)] {
        cluster.hear([announces_as("m2", port, protocol)]);
        assert_eq!(port_and_protocol(&cluster), "9080 \"tcp\"");
        let words = changed(&cluster).expect("a warning");
        assert!(words.contains(&format!("now announces port {port}, protocol {protocol};")), "{words}");
    }
    let mut again = cluster.restarted(vec![blue()]);
    again.hear([connected("m2"), announces_as("m2", 3306, Protocol::Http)]);
    assert_eq!(port_and_protocol(&again), "9080 \"tcp\"", "also after a restart");
    cluster.hear([announces_as("m2", 9080, Protocol::Tcp)]);
    assert_eq!(changed(&cluster), None);
}

#[test]
fn a_person_changes_an_imports_port_by_editing_or_deleting_it() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), announces_as("m2", 9080, Protocol::Tcp)]);
    cluster.hear([announces_as("m2", 3306, Protocol::Http)]);
    let mut edited = cluster.there[0].clone();
    edited["spec"]["port"] = json!(3306);
    cluster.hear([intake::change(&edited)]);
    assert_eq!(port_and_protocol(&cluster), "3306 \"tcp\"");
    assert!(changed(&cluster).is_some(), "a warning about the protocol");
    let freed = intake::removal(&cluster.there.remove(0));
    cluster.hear([freed]);
    assert_eq!((port_and_protocol(&cluster), changed(&cluster)), ("3306 \"http\"".into(), None));
}

/// An older Emcee wrote no port into its imports. Then applications call the port in the status.
#[test]
fn an_older_import_keeps_the_port_that_its_status_remembers() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), announces_as("m2", 9080, Protocol::Tcp)]);
    let mut older = cluster.there[0].clone();
    for field in ["port", "protocol", "export_to"] {
        older["spec"].as_object_mut().expect("a spec").remove(field);
    }
    older["status"] =
        json!({"announcement": {"peer": "m2", "port": 9080, "protocol": "tcp", "endpoints": [M2]}});
    let mut upgraded = Cluster::new(vec![blue()]);
    upgraded.hear([intake::change(&older), connected("m2"), announces_as("m2", 3306, Protocol::Http)]);
    assert_eq!(port_and_protocol(&upgraded), "9080 \"tcp\"");
}

/// Without identities, any workload of the common root could impersonate the service, and no user allowed that.
#[test]
fn end_to_end_nothing_is_imported_whose_identity_is_not_known() {
    let nameless = |mode| {
        let reviews = ObjectKey::new("shop", "reviews");
        let offer = Announcement { identities: Vec::new(), mode, ..offer(&reviews, M2) };
        InputChange::Announcement(source("m2"), reviews, Some(offer))
    };
    for (config, mode) in
        [(flat("blue"), Mode::Flat), (passthrough("blue"), Mode::Passthrough), (wharf("blue"), Mode::Wharf)]
    {
        let mut cluster = Cluster::new(vec![automatic(two_peers(config))]);
        cluster.hear([connected("m2"), nameless(mode)]);
        assert_eq!(cluster.imports(), [""; 0], "{mode}");
        let words = cluster.warns("blue", Reason::IdentityNeeded).expect("a warning");
        assert!(words.contains("shop/reviews of peer m2"), "{words}");
        let why = cluster.translation.catalogue_reports()[0].peers[0].announced_by_peer[0]
            .not_imported
            .as_ref()
            .map(|it| it.reason);
        assert_eq!(why, Some(Reason::IdentityNeeded));
    }
    let mut cluster = Cluster::new(vec![automatic(boundary("blue").peer(Peer::new("m2", ["m2.example"])))]);
    cluster.hear([connected("m2"), nameless(Mode::Boundary)]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"], "BOUNDARY checks the peer's gateway");
    // An existing import stays while its service has no pods.
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), announces("m2", M2)]).hear([nameless(Mode::Flat)]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"]);
}

#[test]
fn only_in_listed_namespaces_that_exist() {
    let mut cluster = Cluster::new(vec![blue()]);
    let elsewhere = ObjectKey::new("kube-system", "reviews");
    let unlisted = InputChange::Announcement(source("m2"), elsewhere.clone(), Some(offer(&elsewhere, M2)));
    cluster.hear([unlisted, announces("m2", M2), InputChange::Namespace("shop".into(), false)]);
    assert_eq!(cluster.imports(), [""; 0]);
    assert!(cluster.warns("blue", Reason::NamespaceMissing).is_some_and(|words| words.contains("shop")));
    let listing = cluster.translation.catalogue_reports();
    let reasons =
        listing[0].peers[0].announced_by_peer.iter().map(|it| it.not_imported.as_ref().map(|why| why.reason));
    let wanted = [Some(Reason::NamespaceNotAllowed), Some(Reason::NamespaceMissing)];
    assert_eq!(reasons.collect::<Vec<_>>(), wanted);
    cluster.hear([InputChange::Namespace("shop".into(), true)]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"]);
    let mut cluster = Cluster::new(vec![blue().allowed_namespaces(["bank"])]);
    cluster.hear([announces("m2", M2)]);
    assert_eq!(cluster.imports(), [""; 0]);
}

#[test]
fn nothing_is_imported_that_nobody_asked_for() {
    let mut cluster = Cluster::new(vec![two_peers(flat("blue"))]);
    cluster.hear([announces("m2", M2)]);
    assert_eq!(cluster.imports(), [""; 0]);
    assert_eq!(
        cluster.translation.catalogue_reports()[0].peers[0].announced_by_peer.len(),
        1,
        "the announcement is in the catalogue"
    );
}

#[test]
fn what_is_taken_back_goes_and_what_is_lost_stays() {
    let mut cluster = Cluster::new(vec![only_m2()]);
    cluster.hear([connected("m2"), announces("m2", M2)]);
    let lost = PeerConnection::Unreachable { since: at("2026-11-20T00:00:00Z"), error: None };
    cluster.hear([InputChange::Peer(source("m2"), Some(state(lost.clone(), true)))]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"]);
    let mut again = cluster.restarted(vec![only_m2()]);
    for news in [
        None,
        Some(state(lost, false)),
        Some(state(PeerConnection::Connected(at("2026-11-21T00:00:00Z")), false)),
    ] {
        again.hear([InputChange::Peer(source("m2"), news)]);
        assert_eq!(again.imports(), ["shop/reviews m2"], "the peer has not answered");
    }
    again.hear([connected("m2")]);
    assert_eq!(again.imports(), [""; 0], "the peer has answered, and does not announce the service");
    cluster.hear([takes_back("m2")]);
    assert_eq!(cluster.imports(), [""; 0]);
}

#[test]
fn a_withdrawal_lets_nobody_else_step_in() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([connected("m2"), connected("m3"), announces("m2", M2)]).hear([announces("m3", M3)]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"]);
    let words = cluster.warns("blue", Reason::NameHeld).expect("a warning");
    assert!(words.contains("shop/reviews of peer m3"), "{words}");
    cluster.hear([takes_back("m2")]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"], "the name still belongs to m2");
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let verdict = cluster.translation.verdict(&unit).expect("a verdict");
    assert!(!verdict.is_programmed(), "no traffic is routed to the service");
    // A user frees the name by deleting the import.
    let freed = intake::removal(&cluster.there.remove(0));
    cluster.hear([freed]);
    assert_eq!(cluster.imports(), ["shop/reviews m3"]);
}

#[test]
fn the_other_may_be_of_another_relationship() {
    let yellow = || {
        automatic(flat("yellow").unset("/spec/tls_context_selector").peer(Peer::new("m4", ["m4.example"])))
    };
    let m4 = PeerKey::new(ObjectKey::new("yellow", "yellow"), "m4");
    let reviews = ObjectKey::new("shop", "reviews");
    let by_m4 = || {
        let mut offer = offer(&reviews, M3);
        offer.server_name = "reviews.shop.yellow.emcee.internal".into();
        InputChange::Announcement(m4.clone(), reviews.clone(), Some(offer))
    };
    let mut cluster = Cluster::new(vec![only_m2(), yellow()]);
    cluster.hear([connected("m2"), announces("m2", M2)]).hear([by_m4()]).hear([takes_back("m2")]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"]);
    assert!(cluster.warns("yellow", Reason::NameHeld).is_some());
    // If both announce it at once, the older relationship holds the name, in any order of evaluation.
    for (blue, yellow_age, wanted) in [("1", "2", "shop/reviews m2"), ("2", "1", "shop/reviews m4")] {
        let at = |day: &str| format!("2026-01-0{day}T00:00:00Z");
        let configs = vec![only_m2().created(&at(blue)), yellow().created(&at(yellow_age))];
        let mut cluster = Cluster::new(configs);
        cluster.hear([announces("m2", M2), by_m4()]);
        assert_eq!(cluster.imports(), [wanted]);
    }
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    let own = binding("shop", "reviews").fed("blue").endpoints(["198.51.100.1:1"]).port(80).build();
    let by_alias =
        binding("shop", "other").fed("blue").alias("reviews").endpoints(["198.51.100.1:1"]).port(80).build();
    let foreign = service("shop", "reviews").port("http", 80).build();
    for object in [own, by_alias, foreign] {
        let mut cluster = Cluster::new(vec![blue()]);
        cluster.hear([intake::change(&object), announces("m2", M2)]);
        assert_eq!(cluster.imports(), [""; 0], "{object}");
        assert!(cluster.warns("blue", Reason::NameHeld).is_some());
        cluster.hear([intake::removal(&object)]);
        assert_eq!(cluster.imports(), ["shop/reviews m2"]);
    }
    // The announced name is not a valid name of a Service.
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear(announces_all("m2", &["1st"]));
    assert_eq!(cluster.imports(), [""; 0]);
    assert!(cluster.warns("blue", Reason::Invalid).is_some_and(|words| words.contains("1st")));
}

#[test]
fn there_are_no_more_than_allowed_and_the_oldest_stay() {
    let two = || only_m2().discovery("max_imports", 2);
    let mut cluster = Cluster::new(vec![two()]);
    cluster.hear(announces_all("m2", &["m", "n"])).hear(announces_all("m2", &["a", "b"]));
    assert_eq!(cluster.imports(), ["shop/m m2", "shop/n m2"]);
    let words = cluster.warns("blue", Reason::ImportLimit).expect("a warning");
    assert!(words.contains("shop/a") && words.contains("max_imports"), "{words}");
    let gone = InputChange::Announcement(source("m2"), ObjectKey::new("shop", "m"), None);
    cluster.hear([connected("m2"), gone]);
    assert_eq!(cluster.imports(), ["shop/a m2", "shop/n m2"]);
    cluster.hear([intake::change(&two().discovery("max_imports", 0).build())]);
    assert_eq!(cluster.imports(), [""; 0]);
}

#[test]
fn manual_again_takes_the_imports_away() {
    let mut cluster = Cluster::new(vec![blue()]);
    cluster.hear([announces("m2", M2)]);
    cluster.hear([intake::change(&blue().discovery("import", "Manual").build())]);
    assert_eq!(cluster.imports(), [""; 0]);
    cluster.hear([intake::change(&blue().build())]);
    assert_eq!(cluster.imports(), ["shop/reviews m2"]);
    cluster.hear([intake::removal(&blue().build())]);
    assert_eq!(cluster.imports(), [""; 0]);
}

/// Without an API server, no watch returns the generated imports as inputs.
#[test]
fn without_an_api_server_they_are_in_place() {
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    let mut translation = Translation::from_changes(settings, [intake::change(&blue().build())]);
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let peer = |translation: &Translation| {
        let imports: Vec<_> =
            of_kind(translation, GeneratedKind::ServiceBinding).into_iter().map(written).collect();
        imports.iter().map(|import| import["spec"]["peer"].to_string()).collect::<String>()
    };
    translation.update([connected("m2"), connected("m3"), announces("m3", M3)]);
    translation.update([announces("m2", M2)]);
    assert_eq!(peer(&translation), "\"m3\"", "m3 announced it first");
    assert!(translation.verdict(&unit).as_ref().is_some_and(ResourceVerdict::is_programmed));
    translation.update([takes_back("m3")]);
    assert_eq!(peer(&translation), "\"m3\"");
    // A user frees the name by removing the relationship's imports, and the next peer holds it at once.
    translation.update([
        intake::change(&blue().discovery("namespaces", json!(["bank"])).build()),
        intake::change(&blue().build()),
    ]);
    translation.update([intake::change(&blue().discovery("namespaces", json!(["bank"])).build())]);
    assert_eq!((peer(&translation).as_str(), translation.verdict(&unit)), ("", None));
    translation.update([intake::change(&blue().build())]);
    assert_eq!(peer(&translation), "\"m2\"");
}

/// A name that one relationship frees is imported by another one in the same update.
#[test]
fn a_freed_name_is_taken_at_once_where_only_files_are_known() {
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    let mut translation = Translation::from_changes(settings, [intake::change(&only_m2().build())]);
    translation.update([announces("m2", M2)]);
    let m4 = PeerKey::new(ObjectKey::new("yellow", "yellow"), "m4");
    let yellow =
        automatic(flat("yellow").unset("/spec/tls_context_selector").peer(Peer::new("m4", ["m4.example"])));
    let reviews = ObjectKey::new("shop", "reviews");
    translation.update([
        intake::change(&yellow.build()),
        InputChange::Announcement(m4, reviews.clone(), Some(offer(&reviews, M3))),
    ]);
    translation.update([intake::removal(&only_m2().build())]);
    let [import] = &of_kind(&translation, GeneratedKind::ServiceBinding)[..] else { panic!("one import") };
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
            let key = intake::key(given);
            let over = |object: &emcee_core::plan::GeneratedObject| *object.namespace == *key.namespace && *object.name == *key.name;
            prop_assert!(!of_kind(&translation, GeneratedKind::ServiceBinding).iter().any(over), "{}", given);
        }
    }

    /// Imports do not change when the API server returns them as inputs.
    #[test]
    fn imports_are_stable(mesh in mesh::mesh()) {
        let mut settings = mesh.settings.clone();
        settings.coverage = InputCoverage::Complete;
        let mut translation = Translation::from_changes(settings, mesh.changes());
        let imports = |translation: &Translation| -> Vec<Value> {
            of_kind(translation, GeneratedKind::ServiceBinding).into_iter().map(written).collect()
        };
        let wanted = imports(&translation);
        let is_there = |import: &&Value| mesh.of_kind("ServiceBinding").any(|given| intake::key(given) == intake::key(import));
        let new: Vec<_> = wanted.iter().filter(|import| !is_there(import)).map(intake::change).collect();
        translation.update(new);
        prop_assert_eq!(imports(&translation), wanted);
    }
}
