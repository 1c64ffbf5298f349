//! The object as it is sent, and its comparison with the live object.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::num::NonZeroU64;
use std::sync::LazyLock;

use emcee_api::API_VERSION;
use emcee_core::diff::has_drift;
use emcee_core::plan::{GeneratedKind, GeneratedObject, OwnerKind};
use emcee_core::uid::Uid;
use foldhash::quality::FixedState;
use serde_json::{Map, Value, json};

use crate::object::ResourceVersion;

/// A resource version that no object can have: etcd counts from 1, and its first write is revision 2. An
/// apply with this version only creates: if the object exists, the API server answers with a conflict.
const CREATE_ONLY_VERSION: &str = "1";

/// Most manifests are shorter, in bytes.
const TYPICAL_LENGTH: usize = 2048;

/// A desired object and the hash of its content.
#[derive(Clone, Debug)]
pub(crate) struct DesiredObject {
    /// Manifest that is sent to the API server.
    pub(crate) manifest: Value,
    /// Hash of the content.
    pub(crate) hash: NonZeroU64,
}

impl DesiredObject {
    /// Builds the desired object. It has an owner reference to the resource with this UID if both are in the
    /// same namespace: across namespaces, the garbage collector would delete the object.
    pub(crate) fn from_object(object: &GeneratedObject, owner_uid: Option<&Uid>) -> Self {
        let mut value = object.to_json();
        if let Some(uid) = referenced_uid(object, owner_uid) {
            value["metadata"]["ownerReferences"] = json!([owner_reference(object, uid)]);
        }
        Self { manifest: value, hash: desired_hash(object, owner_uid) }
    }

    /// Returns the patch that creates the object and fails if it exists.
    pub(crate) fn create_patch(&self) -> Value {
        self.with_metadata("resourceVersion", CREATE_ONLY_VERSION)
    }

    /// Returns the patch for the object with this UID and no other.
    pub(crate) fn apply_patch(&self, uid: &Uid) -> Value {
        self.with_metadata("uid", &uid.to_string())
    }

    /// Returns the patch for the object with this UID at this version, and no other.
    pub(crate) fn take_over_patch(&self, uid: &Uid, version: &ResourceVersion) -> Value {
        let mut object = self.apply_patch(uid);
        object["metadata"]["resourceVersion"] = version.to_string().into();
        object
    }

    fn with_metadata(&self, field: &str, value: &str) -> Value {
        let mut object = self.manifest.clone();
        object["metadata"][field] = value.into();
        object
    }
}

fn owner_reference(object: &GeneratedObject, uid: &Uid) -> Value {
    json!({
        "apiVersion": api_version(object.owner.kind),
        "kind": object.owner.kind.as_str(),
        "name": object.owner.key.name,
        "uid": uid.to_string(),
    })
}

fn api_version(owner: OwnerKind) -> &'static str {
    match owner {
        OwnerKind::Service => "v1",
        _ => API_VERSION,
    }
}

/// Returns the UID in the owner reference of an object, if it has one.
fn referenced_uid<'a>(object: &GeneratedObject, owner_uid: Option<&'a Uid>) -> Option<&'a Uid> {
    owner_uid.filter(|_| object.owner.key.namespace == object.namespace)
}

/// Returns the hash of the content of a desired object. Does not build its manifest: this is called for every
/// object of a unit, and most have not changed.
pub(super) fn desired_hash(object: &GeneratedObject, owner_uid: Option<&Uid>) -> NonZeroU64 {
    static STATE: LazyLock<FixedState> = LazyLock::new(FixedState::default);
    let mut text = Vec::with_capacity(TYPICAL_LENGTH);
    serde_json::to_writer(&mut text, object)
        .expect("a Vec takes everything, and all values have a JSON form");
    let mut hasher = STATE.build_hasher();
    hasher.write(&text);
    referenced_uid(object, owner_uid).hash(&mut hasher);
    // An `Option` of it takes no more memory than a number.
    NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
}

/// Reports whether the live object has the desired content, and nothing that would change its meaning.
pub(crate) fn matches_desired(kind: GeneratedKind, live: &Value, desired: &Value) -> bool {
    !has_drift(live, desired, !kind.has_server_side_defaults())
}

/// Like [`matches_desired`], for an object that another client wrote. Ignores owner references: they matter
/// to the garbage collector only.
pub(super) fn is_matching_copy(kind: GeneratedKind, live: &Value, desired: &Value) -> bool {
    let mut desired = desired.clone();
    if let Some(metadata) = desired["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
    matches_desired(kind, live, &desired)
}

/// Returns a merge patch that removes what an apply keeps: fields of a spec that others have added.
pub(crate) fn removal_patch(kind: GeneratedKind, live: &Value, desired: &Value) -> Option<Value> {
    if kind.has_server_side_defaults() {
        return None;
    }
    let additions = removed_fields(&live["spec"], &desired["spec"])?;
    Some(json!({
        // Preconditions: the patch fails if the object has changed in the meantime.
        "metadata": {"uid": live["metadata"]["uid"], "resourceVersion": live["metadata"]["resourceVersion"]},
        "spec": additions,
    }))
}

fn removed_fields(live: &Value, desired: &Value) -> Option<Value> {
    let (live, desired) = (live.as_object()?, desired.as_object()?);
    let mut patch = Map::new();
    for (field, value) in live {
        match desired.get(field) {
            // In a merge patch, null removes the field.
            None => drop(patch.insert(field.clone(), Value::Null)),
            Some(desired) => patch.extend(removed_fields(value, desired).map(|inner| (field.clone(), inner))),
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use emcee_api::ServiceBindingSpec;
    use emcee_core::key::ObjectKey;
    use emcee_core::plan::{ObjectContent, ObjectOwner};

    use super::*;

    const RULE: GeneratedKind = GeneratedKind::DestinationRule;
    const SERVICE: GeneratedKind = GeneratedKind::Service;

    fn body(manifest: Value) -> DesiredObject {
        DesiredObject { hash: NonZeroU64::MIN, manifest }
    }

    #[test]
    fn each_patch_has_the_preconditions_of_its_write() {
        let desired = body(json!({"metadata": {"name": "a"}, "spec": {"host": "a"}}));
        let (uid, version) = (Uid::new(Some("u")), ResourceVersion::new("7"));
        assert_eq!(desired.create_patch()["metadata"], json!({"name": "a", "resourceVersion": "1"}));
        assert_eq!(desired.apply_patch(&uid)["metadata"], json!({"name": "a", "uid": "u"}));
        let take_over = desired.take_over_patch(&uid, &version);
        assert_eq!(take_over["metadata"], json!({"name": "a", "uid": "u", "resourceVersion": "7"}));
        for patch in [desired.create_patch(), desired.apply_patch(&uid), take_over] {
            assert_eq!(patch["spec"], desired.manifest["spec"]);
        }
    }

    /// Istio's definitions have no defaults, so another client has added the field.
    #[test]
    fn an_added_field_is_a_difference_only_in_kinds_without_defaults() {
        let (live, desired) = (json!({"spec": {"a": 1, "b": 2}}), json!({"spec": {"a": 1}}));
        assert!(!matches_desired(RULE, &live, &desired));
        assert!(matches_desired(SERVICE, &live, &desired));
        let other = json!({"spec": {"a": 2, "b": 2}});
        assert!(!matches_desired(SERVICE, &other, &desired));
    }

    #[test]
    fn the_items_of_a_list_match_one_by_one() {
        let ports = |ports: Value| json!({"spec": {"ports": ports}});
        let desired = ports(json!([{"port": 80}, {"port": 81}]));
        let defaults = ports(json!([{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]));
        assert!(matches_desired(SERVICE, &defaults, &desired));
        for other in [
            json!([{"port": 80}]),
            json!([{"port": 81}, {"port": 80}]),
            json!([{"port": 80}, {"port": 81}, {"port": 82}]),
        ] {
            assert!(!matches_desired(SERVICE, &ports(other.clone()), &desired), "{other}");
        }
    }

    /// The API server leaves empty values out.
    #[test]
    fn an_empty_value_matches_a_missing_one() {
        for empty in [json!(null), json!([]), json!({})] {
            let desired = json!({"spec": {"a": empty}});
            assert!(matches_desired(SERVICE, &json!({"spec": {}}), &desired), "{empty}");
            assert!(!matches_desired(SERVICE, &json!({"spec": {"a": "x"}}), &desired), "{empty}");
            assert!(matches_desired(RULE, &json!({}), &json!({"spec": empty})), "{empty}");
        }
        assert!(!matches_desired(SERVICE, &json!({}), &json!({"spec": {"a": 0}})));
    }

    #[test]
    fn a_copy_may_lack_owner_references_but_no_label() {
        let desired =
            json!({"metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u"}]}, "spec": {}});
        let copy = json!({"metadata": {"labels": {"a": "1", "theirs": "1"}}, "spec": {}});
        assert!(is_matching_copy(RULE, &copy, &desired));
        assert!(!matches_desired(RULE, &copy, &desired));
        let unlabelled = json!({"metadata": {"labels": {"theirs": "1"}}, "spec": {}});
        assert!(!is_matching_copy(RULE, &unlabelled, &desired));
    }

    #[test]
    fn the_status_and_the_version_of_an_object_are_not_compared() {
        let live = json!({"metadata": {"uid": "u"}, "spec": {"a": 1}, "status": {"b": 1}});
        let desired =
            json!({"apiVersion": "v1", "kind": "X", "metadata": {}, "spec": {"a": 1}, "status": {}});
        assert!(matches_desired(RULE, &live, &desired));
    }

    #[test]
    fn the_removal_patch_removes_what_others_have_added_at_any_depth() {
        let live = json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "labels": {"theirs": "1"}},
            "spec": {"host": "other", "theirs": {"x": 1}, "tls": {"mode": "MUTUAL", "theirs": true}, "list": [1, 2]},
        });
        let desired = json!({"spec": {"host": "a", "tls": {"mode": "SIMPLE"}, "list": [1]}});
        let expected = json!({
            "metadata": {"uid": "u", "resourceVersion": "7"},
            "spec": {"theirs": null, "tls": {"theirs": null}},
        });
        assert_eq!(removal_patch(RULE, &live, &desired), Some(expected));
        assert_eq!(removal_patch(SERVICE, &live, &desired), None, "they may be defaults");
        assert_eq!(removal_patch(RULE, &desired, &desired), None);
    }

    fn binding(peer: &str) -> GeneratedObject {
        let key = ObjectKey::new("fed", "blue");
        let spec = ServiceBindingSpec { peer: Some(peer.to_owned()), ..ServiceBindingSpec::default() };
        GeneratedObject {
            namespace: "fed".into(),
            name: "details".to_owned(),
            owner: ObjectOwner::new(OwnerKind::MeshFedConfig, key.clone(), Some(key)),
            annotations: BTreeMap::new(),
            content: ObjectContent::ServiceBinding(Box::new(spec)),
        }
    }

    #[test]
    fn the_hash_depends_on_all_that_is_sent() {
        let (one, other) = (Uid::new(Some("1")), Uid::new(Some("2")));
        let hash = |object: &GeneratedObject, uid: &Uid| {
            let desired = DesiredObject::from_object(object, Some(uid));
            assert_eq!(desired.hash, desired_hash(object, Some(uid)));
            desired.hash
        };
        assert_eq!(hash(&binding("m2"), &one), hash(&binding("m2"), &one));
        assert_ne!(hash(&binding("m2"), &one), hash(&binding("m3"), &one));
        assert_ne!(hash(&binding("m2"), &one), hash(&binding("m2"), &other));
        // Without an owner reference, the UID is not sent.
        let elsewhere = GeneratedObject { namespace: "shop".into(), ..binding("m2") };
        assert_ne!(hash(&binding("m2"), &one), hash(&elsewhere, &one));
        assert_eq!(hash(&elsewhere, &one), hash(&elsewhere, &other));
        let mut noted = binding("m2");
        noted.annotations.insert("a".to_owned(), "b".to_owned());
        assert_ne!(hash(&binding("m2"), &one), hash(&noted, &one));
    }
}
