use emcee_api::istio::{DestinationRuleSpec, GatewaySpec, ServiceEntrySpec, VirtualServiceSpec};
use emcee_core::inputs::KeyMaterial;
use emcee_core::plan::{ObjectOwner, OwnerKind};

use super::*;

const ENTRIES: &str = "networking.istio.io/v1/ServiceEntry";
const RULES: &str = "networking.istio.io/v1/DestinationRule";

fn object(namespace: &str, name: &str, body: ObjectContent) -> GeneratedObject {
    let fed_config = Some(ObjectKey::new("blue", "blue"));
    let owner = ObjectOwner::new(OwnerKind::ServiceBinding, ObjectKey::new(namespace, "ratings"), fed_config);
    GeneratedObject {
        namespace: namespace.into(),
        name: name.into(),
        owner,
        annotations: BTreeMap::new(),
        content: body,
    }
}

fn entry(name: &str, host: &str) -> GeneratedObject {
    let spec = ServiceEntrySpec { hosts: vec![host.to_owned()], ..ServiceEntrySpec::default() };
    object("default", name, ObjectContent::ServiceEntry(Box::new(spec)))
}

fn rule(name: &str) -> GeneratedObject {
    let spec = DestinationRuleSpec { host: name.to_owned(), ..DestinationRuleSpec::default() };
    object("default", name, ObjectContent::DestinationRule(Box::new(spec)))
}

fn unit(name: &str) -> Unit {
    Unit::ServiceBinding(ObjectKey::new("default", name))
}

/// Replaces the objects of one unit, and publishes them.
fn publish_objects(store: &mut McpStore, name: &str, objects: &[GeneratedObject]) -> McpSnapshot {
    store.set_objects(&unit(name), objects);
    store.publish()
}

fn snapshot_of(objects: &[GeneratedObject]) -> McpSnapshot {
    publish_objects(&mut McpStore::default(), "ratings", objects)
}

fn decoded_resources(snapshot: &McpSnapshot, type_url: &str) -> Vec<McpResource> {
    let set = snapshot.resources_of(type_url).unwrap();
    let read = |bytes: &Bytes| {
        let any = Any::decode(bytes.clone()).unwrap();
        assert_eq!(any.type_url, "type.googleapis.com/istio.mcp.v1alpha1.Resource");
        McpResource::decode(any.value).unwrap()
    };
    set.resources.iter().map(read).collect()
}

#[test]
fn no_set_before_the_first_update_and_an_empty_set_for_every_type_after_it() {
    assert_eq!(McpStore::default().snapshot().resources_of(ENTRIES), None);
    let snapshot = McpStore::default().publish();
    for type_url in [ENTRIES, "core/v1alpha1/MeshConfig", "anything"] {
        assert_eq!(snapshot.resources_of(type_url).unwrap().resources.len(), 0);
    }
}

#[test]
fn an_object_is_a_resource_with_its_names_labels_and_spec() {
    let mut object = entry("emcee-ratings", "ratings.default.blue.emcee.internal");
    object.annotations.insert("a".into(), "b".into());
    let snapshot = snapshot_of(&[object]);
    let [resource] = &*decoded_resources(&snapshot, ENTRIES) else { panic!("one") };
    let metadata = resource.metadata.as_ref().unwrap();
    assert_eq!(metadata.name, "default/emcee-ratings");
    assert_eq!(metadata.labels["app.kubernetes.io/managed-by"], "emcee");
    assert_eq!(metadata.labels["emcee.io/mesh-fed-config"], "blue.blue");
    assert_eq!(metadata.annotations["a"], "b");
    assert_eq!(metadata.create_time, Some(ProtoTimestamp::default()));
    let body = resource.body.as_ref().unwrap();
    assert_eq!(body.type_url, "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry");
    let spec = ServiceEntrySpec::decode(body.value.clone()).unwrap();
    assert_eq!(spec.hosts, ["ratings.default.blue.emcee.internal"]);
}

#[test]
fn only_istio_kinds_are_served_under_the_type_urls_of_istiod() {
    let secret = KeyMaterial {
        certificate: b"c"[..].into(),
        private_key: b"k"[..].into(),
        ca: b"a"[..].into(),
        crl: None,
    };
    let objects = [
        object("default", "a", ObjectContent::AuthorizationPolicy(Box::default())),
        object("default", "d", ObjectContent::DestinationRule(Box::<DestinationRuleSpec>::default())),
        object("default", "e", ObjectContent::ServiceEntry(Box::<ServiceEntrySpec>::default())),
        object("default", "v", ObjectContent::VirtualService(Box::<VirtualServiceSpec>::default())),
        object("default", "g", ObjectContent::Gateway(Box::<GatewaySpec>::default())),
        object("default", "s", ObjectContent::Secret(secret)),
        object("default", "s", ObjectContent::Service(Box::default())),
        object("default", "d", ObjectContent::Deployment(Box::default())),
        object("default", "n", ObjectContent::NetworkPolicy(Box::default())),
    ];
    let snapshot = snapshot_of(&objects);
    for (type_url, body) in [
        ("security.istio.io/v1/AuthorizationPolicy", "istio.security.v1beta1.AuthorizationPolicy"),
        (RULES, "istio.networking.v1alpha3.DestinationRule"),
        (ENTRIES, "istio.networking.v1alpha3.ServiceEntry"),
        ("networking.istio.io/v1/VirtualService", "istio.networking.v1alpha3.VirtualService"),
        ("networking.istio.io/v1/Gateway", "istio.networking.v1alpha3.Gateway"),
    ] {
        let resources = decoded_resources(&snapshot, type_url);
        let bodies: Vec<_> =
            resources.iter().map(|resource| &*resource.body.as_ref().unwrap().type_url).collect();
        assert_eq!(bodies, [format!("type.googleapis.com/{body}")]);
    }
    assert_eq!(snapshot.0.unwrap().len(), 5, "nothing else");
}

#[test]
fn unchanged_resources_and_sets_are_reused() {
    let mut store = McpStore::default();
    let before = publish_objects(&mut store, "ratings", &[entry("a", "x"), entry("b", "y"), rule("r")]);
    let same = publish_objects(&mut store, "ratings", &[rule("r"), entry("b", "y"), entry("a", "x")]);
    assert!(Arc::ptr_eq(before.0.as_ref().unwrap(), same.0.as_ref().unwrap()));

    let after = publish_objects(&mut store, "ratings", &[entry("a", "x"), entry("b", "z"), rule("r")]);
    assert!(Arc::ptr_eq(before.resources_of(RULES).unwrap(), after.resources_of(RULES).unwrap()));
    let (old, new) = (before.resources_of(ENTRIES).unwrap(), after.resources_of(ENTRIES).unwrap());
    assert_ne!(old.version, new.version);
    assert_eq!(old.resources[0].as_ptr(), new.resources[0].as_ptr());
    assert_ne!(old.resources[1], new.resources[1]);
}

#[test]
fn a_version_depends_only_on_the_content() {
    let version =
        |objects: &[GeneratedObject]| snapshot_of(objects).resources_of(ENTRIES).unwrap().version.clone();
    let one = version(&[entry("a", "x"), entry("b", "y")]);
    assert_eq!(one, version(&[entry("b", "y"), entry("a", "x")]), "not on the order");
    let mut noted = entry("a", "x");
    noted.annotations.insert("n".into(), "1".into());
    let others = [
        version(&[entry("a", "x")]),
        version(&[entry("a", "x"), entry("b", "z")]),
        version(&[entry("a", "x"), entry("c", "y")]),
        version(&[noted, entry("b", "y")]),
        version(&[]),
    ];
    for (index, other) in others.iter().enumerate() {
        assert!(*other != one && !others[..index].contains(other), "{index}");
    }
}

#[test]
fn removed_objects_leave_an_empty_set() {
    let mut store = McpStore::default();
    let empty = publish_objects(&mut store, "ratings", &[]).resources_of(ENTRIES).unwrap().version.clone();
    let two = publish_objects(&mut store, "ratings", &[entry("a", "x"), entry("b", "y")]);
    assert_eq!(decoded_resources(&two, ENTRIES).len(), 2);
    let one = publish_objects(&mut store, "ratings", &[entry("b", "y")]);
    assert_eq!(decoded_resources(&one, ENTRIES)[0].metadata.as_ref().unwrap().name, "default/b");
    assert_eq!(decoded_resources(&one, ENTRIES).len(), 1);
    assert_eq!(publish_objects(&mut store, "ratings", &[]).resources_of(ENTRIES).unwrap().version, empty);
}

/// Otherwise the cost of a change would grow with the number of resources.
#[test]
fn a_change_of_one_unit_encodes_its_changed_objects_only() {
    let mut store = McpStore::default();
    for number in 0..100 {
        let name = number.to_string();
        store.set_objects(&unit(&name), &[entry(&name, &name), rule(&name)]);
    }
    let before = store.publish();
    let after = publish_objects(&mut store, "7", &[entry("7", "changed"), rule("7")]);
    let (old, new) = (before.resources_of(ENTRIES).unwrap(), after.resources_of(ENTRIES).unwrap());
    let pairs = old.resources.iter().zip(&new.resources);
    let encoded = pairs.filter(|(old, new)| old.as_ptr() != new.as_ptr()).count();
    assert_eq!((old.resources.len(), new.resources.len(), encoded), (100, 100, 1));
    assert!(Arc::ptr_eq(before.resources_of(RULES).unwrap(), after.resources_of(RULES).unwrap()));
}

/// The update of the new unit may come first.
#[test]
fn an_object_that_moves_to_another_unit_stays() {
    let mut store = McpStore::default();
    let before = publish_objects(&mut store, "old", &[entry("a", "x")]);
    store.set_objects(&unit("new"), &[entry("a", "x")]);
    let after = publish_objects(&mut store, "old", &[]);
    assert_eq!(before, after, "its content is the same");
    let gone = publish_objects(&mut store, "new", &[]);
    assert_eq!(decoded_resources(&gone, ENTRIES), []);
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let mut store = McpStore::default();
    store.set_objects(&unit("a"), &[entry("a", "x")]);
    assert_eq!(store.snapshot(), McpSnapshot::default());
    assert_eq!(decoded_resources(&store.publish(), ENTRIES).len(), 1);
}
