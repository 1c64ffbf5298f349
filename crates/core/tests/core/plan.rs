//! Generated objects as JSON, and queries on them.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_core::catalogue::{AddressedAnnouncement, CatalogueReport, PeerPolicy};
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedKind, GeneratedObject, ObjectContent};
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use serde_json::Value;

/// All results of a translation, for comparisons: objects, verdicts, announcements and peer policies.
#[derive(Debug, PartialEq)]
pub(crate) struct TranslationSnapshot {
    pub(crate) objects: Vec<Value>,
    pub(crate) verdicts: Vec<(Unit, ResourceVerdict)>,
    pub(crate) announcements: Vec<(ObjectKey, AddressedAnnouncement)>,
    pub(crate) policies: Vec<Arc<PeerPolicy>>,
    pub(crate) reports: Vec<CatalogueReport>,
}

pub(crate) fn snapshot(translation: &Translation) -> TranslationSnapshot {
    TranslationSnapshot {
        objects: translation.objects().into_iter().map(to_json).collect(),
        verdicts: translation
            .verdicts()
            .into_iter()
            .map(|(unit, verdict)| (unit.clone(), verdict.clone()))
            .collect(),
        announcements: sorted_announcements(translation),
        policies: translation.peer_policies().cloned().collect(),
        reports: translation.catalogue_reports(),
    }
}

fn sorted_announcements(translation: &Translation) -> Vec<(ObjectKey, AddressedAnnouncement)> {
    let mut announcements: Vec<_> =
        translation.announcements().map(|(key, addressed)| (key.clone(), addressed.clone())).collect();
    announcements.sort_by(|a, b| (&a.0, &a.1.fed_config).cmp(&(&b.0, &b.1.fed_config)));
    announcements
}

pub(crate) fn to_json(object: impl Borrow<GeneratedObject>) -> Value {
    serde_json::to_value(object.borrow()).expect("an object can be written")
}

/// Returns `Kind namespace/name`.
pub(crate) fn object_id(object: impl Borrow<GeneratedObject>) -> String {
    let object = object.borrow();
    format!("{} {}/{}", object.kind().as_str(), object.namespace, object.name)
}

pub(crate) fn objects_of_kind(translation: &Translation, kind: GeneratedKind) -> Vec<GeneratedObject> {
    translation.objects().into_iter().filter(|object| object.kind() == kind).collect()
}

/// Returns all values of fields with the name `field`, at any depth.
pub(crate) fn find_fields<'a>(value: &'a Value, field: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let here = (name == field).then_some(value);
                here.into_iter().chain(find_fields(value, field)).collect::<Vec<_>>()
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| find_fields(item, field)).collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn as_text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns the strings of a list. A missing list is empty.
pub(crate) fn text_set(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(|item| as_text(item).to_owned()).collect()
}

/// One server of a generated Gateway, for one host.
#[derive(Debug)]
pub(crate) struct GatewayServer {
    pub(crate) gateway: String,
    /// Namespace and labels of the pods, and the port.
    pub(crate) listener: String,
    /// The namespace before the slash in the server's host.
    pub(crate) namespace: String,
    pub(crate) host: String,
    pub(crate) tls: Value,
    pub(crate) owner: Unit,
    pub(crate) fed_config: ObjectKey,
}

/// Returns all servers of all Gateways, one for each host.
pub(crate) fn servers(translation: &Translation) -> Vec<GatewayServer> {
    objects_of_kind(translation, GeneratedKind::Gateway)
        .into_iter()
        .flat_map(|object| servers_of(&object))
        .collect()
}

fn servers_of(object: &GeneratedObject) -> Vec<GatewayServer> {
    let gateway = to_json(object);
    let servers = gateway["spec"]["servers"].as_array().expect("servers").clone();
    let selector = gateway["spec"]["selector"].to_string();
    let server = |server: &Value, host: &str| {
        let (namespace, host) = host.split_once('/').unwrap_or(("", host));
        GatewayServer {
            gateway: object_id(object),
            listener: format!("{} {selector} {}", object.namespace, server["port"]["number"]),
            namespace: namespace.to_owned(),
            host: host.to_owned(),
            tls: server["tls"].clone(),
            owner: owner_unit(object),
            fed_config: object.owner.fed_config.clone().expect("a server belongs to a relationship"),
        }
    };
    servers
        .iter()
        .flat_map(|s| text_set(&s["hosts"]).iter().map(|host| server(s, host)).collect::<Vec<_>>())
        .collect()
}

/// Returns the unit that generated an object. For a shared host, which its owner does not describe completely, that of
/// its relationship.
pub(crate) fn owner_unit(object: &GeneratedObject) -> Unit {
    use emcee_core::plan::OwnerKind;
    let key = object.owner.key.clone();
    match object.owner.kind {
        OwnerKind::MeshFedConfig if object.kind() == GeneratedKind::ServiceBinding => Unit::Imports(key),
        OwnerKind::MeshFedConfig => Unit::MeshFedConfig(key),
        OwnerKind::ServiceExposition => Unit::ServiceExposition(key),
        OwnerKind::ServiceBinding => Unit::ServiceBinding(key),
        OwnerKind::Service => Unit::AutomaticExposition(key),
        OwnerKind::Facade => Unit::Facade(key),
        OwnerKind::SharedHost => Unit::MeshFedConfig(
            object.owner.fed_config.clone().expect("a shared host belongs to a relationship"),
        ),
        OwnerKind::Relay => {
            Unit::Relay(object.owner.fed_config.clone().expect("a relay belongs to a relationship"), key.name)
        }
    }
}

/// Returns whether the object is a Secret, the only kind that can contain a key.
pub(crate) const fn is_secret(object: &GeneratedObject) -> bool {
    matches!(object.content, ObjectContent::Secret(_))
}

#[test]
fn group_and_version_match_the_api_version() {
    for kind in GeneratedKind::ALL {
        let (group, version) = (kind.group(), kind.version());
        let joined = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        assert_eq!(joined, kind.api_version(), "{kind:?}");
        assert_eq!(version, "v1", "{kind:?}");
        assert!(
            kind.plural().starts_with(&kind.as_str().to_lowercase()[..kind.as_str().len() - 1]),
            "{kind:?}"
        );
    }
}
