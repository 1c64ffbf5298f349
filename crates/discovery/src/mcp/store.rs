//! Encodes objects as MCP resources. Each is encoded once for all streams.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use emcee_api::istio::IstioSpec;
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedKind, GeneratedObject, ObjectContent};
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::wire::{Metadata, RESOURCE, Resource, Timestamp};
use crate::wire::Any;

/// Creation time of every resource. It is constant, so that it is the same in each replica and after a restart.
///
/// Of two objects for the same host, Istio prefers the older one. With this time, Emcee's objects are the oldest, and
/// no one can take over traffic of its hosts with a new object. Istio orders objects of equal age by name.
const CREATED: Timestamp = Timestamp { seconds: 0, nanos: 0 };

/// The first 128 bits of a SHA-256 hash.
type Hash = [u8; 16];

/// All objects of the kinds that istiod reads. The translation writes it; streams read its [`McpSnapshot`]s.
#[derive(Debug, Default)]
pub struct Store {
    items: BTreeMap<GeneratedKind, BTreeMap<ObjectKey, Item>>,
    snapshot: Snapshot,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    hash: Hash,
    bytes: Bytes,
}

/// The content of the store at one time. The default is "not known yet"; with it, no request is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(Option<Arc<BTreeMap<String, Arc<Set>>>>);

/// All resources of one type.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// Hash of the resources, as the xDS version.
    pub version: String,
    /// Each an encoded `Any`, ordered by namespace and name.
    pub resources: Vec<Bytes>,
}

static EMPTY: LazyLock<Arc<Set>> = LazyLock::new(|| Arc::new(Set::of(&BTreeMap::new())));

impl Store {
    /// Replaces all objects. Unchanged objects are not encoded again, and a type without changes keeps its set. Kinds
    /// that are not Istio's are ignored.
    pub fn set<'a>(&mut self, objects: impl IntoIterator<Item = &'a GeneratedObject>) -> Snapshot {
        let mut items: BTreeMap<GeneratedKind, BTreeMap<ObjectKey, Item>> = BTreeMap::new();
        for object in objects {
            if let Some((key, item)) = self.item(object) {
                items.entry(object.kind()).or_default().insert(key, item);
            }
        }
        // Both old and new kinds: a kind whose last object is gone has changed too.
        let kinds: BTreeSet<_> = self.items.keys().chain(items.keys()).copied().collect();
        let changed: Vec<_> =
            kinds.into_iter().filter(|kind| self.items.get(kind) != items.get(kind)).collect();
        self.items = items;
        // The first call publishes a snapshot even if it is empty: from then on the content is known.
        if self.snapshot.0.is_none() || !changed.is_empty() {
            self.snapshot = self.publish(&changed);
        }
        self.snapshot()
    }

    /// Returns the current content of the store.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn item(&self, object: &GeneratedObject) -> Option<(ObjectKey, Item)> {
        let body = body(&object.content)?;
        let key = ObjectKey { namespace: Arc::clone(&object.namespace), name: object.name.as_str().into() };
        let metadata = metadata(object, &key);
        let hash = hash(&metadata, &body);
        // The hash covers all but the version, which is the hash itself. If it is equal, the encoded bytes are reused.
        let before = self.items.get(&object.kind()).and_then(|items| items.get(&key));
        if let Some(before) = before.filter(|before| before.hash == hash) {
            return Some((key, before.clone()));
        }
        let resource =
            Resource { metadata: Some(Metadata { version: hex(&hash), ..metadata }), body: Some(body) };
        let any = Any { type_url: RESOURCE.to_owned(), value: resource.encode_to_vec().into() };
        Some((key, Item { hash, bytes: any.encode_to_vec().into() }))
    }

    fn publish(&self, changed: &[GeneratedKind]) -> Snapshot {
        let sets = self.items.iter().map(|(kind, items)| {
            let type_url = type_url(*kind);
            let before = self.snapshot.find(&type_url).filter(|_| !changed.contains(kind));
            let set = before.map_or_else(|| Arc::new(Set::of(items)), Arc::clone);
            (type_url, set)
        });
        Snapshot(Some(Arc::new(sets.collect())))
    }
}

impl Snapshot {
    /// Returns the resources of a type. `None` if the content is not known yet. The set is empty for a type that
    /// Emcee does not write.
    pub fn set(&self, type_url: &str) -> Option<&Arc<Set>> {
        self.0.as_ref()?;
        Some(self.find(type_url).unwrap_or(&EMPTY))
    }

    fn find(&self, type_url: &str) -> Option<&Arc<Set>> {
        self.0.as_ref()?.get(type_url)
    }
}

impl Set {
    fn of(items: &BTreeMap<ObjectKey, Item>) -> Self {
        let mut hash = Sha256::new();
        for item in items.values() {
            hash.update(item.hash);
        }
        let resources = items.values().map(|item| item.bytes.clone()).collect();
        Self { version: hex(&cut(hash)), resources }
    }
}

/// Returns the type URL that istiod uses for a kind: `group/version/Kind`.
pub(super) fn type_url(kind: GeneratedKind) -> String {
    [kind.api_version(), "/", kind.as_str()].concat()
}

/// Encodes the spec of an object. `None` for kinds that istiod does not read from MCP.
fn body(body: &ObjectContent) -> Option<Any> {
    match body {
        ObjectContent::AuthorizationPolicy(spec) => Some(any(&**spec)),
        ObjectContent::DestinationRule(spec) => Some(any(&**spec)),
        ObjectContent::ServiceEntry(spec) => Some(any(&**spec)),
        ObjectContent::VirtualService(spec) => Some(any(&**spec)),
        ObjectContent::Gateway(spec) => Some(any(&**spec)),
        ObjectContent::ServiceAccount
        | ObjectContent::Role(_)
        | ObjectContent::RoleBinding(..)
        | ObjectContent::Secret(_)
        | ObjectContent::NetworkPolicy(_)
        | ObjectContent::PodDisruptionBudget(_)
        | ObjectContent::Deployment(_)
        | ObjectContent::Service(_)
        | ObjectContent::ServiceExposition(_)
        | ObjectContent::ServiceBinding(_) => None,
    }
}

fn any<S: IstioSpec>(spec: &S) -> Any {
    Any { type_url: S::TYPE_URL.to_owned(), value: spec.encode_to_vec().into() }
}

/// Returns the metadata without the version.
fn metadata(object: &GeneratedObject, key: &ObjectKey) -> Metadata {
    Metadata {
        name: key.to_string(),
        create_time: Some(CREATED),
        version: String::new(),
        labels: object.owner.labels().map(|(name, value)| (name.to_owned(), value)).collect(),
        annotations: object.annotations.clone(),
    }
}

fn hash(metadata: &Metadata, body: &Any) -> Hash {
    let mut hash = Sha256::new();
    // Length-delimited, so that different pairs cannot have the same encoding.
    hash.update(metadata.encode_length_delimited_to_vec());
    hash.update(body.encode_length_delimited_to_vec());
    cut(hash)
}

fn cut(hash: Sha256) -> Hash {
    let mut short = Hash::default();
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

fn hex(hash: &Hash) -> String {
    hash.iter().fold(String::with_capacity(2 * hash.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

#[cfg(test)]
mod tests;
