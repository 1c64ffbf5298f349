//! Encodes objects as MCP resources. Each is encoded once for all streams.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use data_encoding::HEXLOWER;
use emcee_api::istio::IstioSpec;
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedKind, GeneratedObject, ObjectContent};
use emcee_core::translate::Unit;
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::wire::{McpMetadata, McpResource, ProtoTimestamp, RESOURCE_TYPE_URL};
use crate::wire::Any;

/// Creation time of every resource. It is constant, so that it is the same in each replica and after a restart.
///
/// Of two objects for the same host, Istio prefers the older one. With this time, Emcee's objects are the oldest, and
/// no one can take over traffic of its hosts with a new object. Istio orders objects of equal age by name.
const CREATION_TIME: ProtoTimestamp = ProtoTimestamp { seconds: 0, nanos: 0 };

/// The first 128 bits of a SHA-256 hash.
type ContentHash = [u8; 16];

/// All objects of the kinds that istiod reads. The translation writes it, unit by unit; streams read its
/// [`McpSnapshot`]s. So the cost of a change does not depend on the number of other units.
#[derive(Debug, Default)]
pub struct McpStore {
    resources: BTreeMap<GeneratedKind, BTreeMap<ObjectKey, StoredResource>>,
    /// Kinds and keys of the resources of each unit that has any.
    unit_resources: HashMap<Arc<Unit>, Box<[(GeneratedKind, ObjectKey)]>>,
    /// Kinds with resources that the snapshot does not contain as they are now.
    changed: BTreeSet<GeneratedKind>,
    snapshot: McpSnapshot,
}

#[derive(Clone, Debug)]
struct StoredResource {
    /// Unit that asks for it.
    unit: Arc<Unit>,
    hash: ContentHash,
    bytes: Bytes,
}

/// The content of the store at one time. The default is "not known yet"; with it, no request is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpSnapshot(Option<Arc<BTreeMap<String, Arc<TypeResources>>>>);

/// All resources of one type.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeResources {
    /// Hash of the resources, as the xDS version.
    pub version: String,
    /// Each an encoded `Any`, ordered by namespace and name.
    pub resources: Vec<Bytes>,
}

static EMPTY_SET: LazyLock<Arc<TypeResources>> =
    LazyLock::new(|| Arc::new(TypeResources::from_stored(&BTreeMap::new())));

impl McpStore {
    /// Replaces the objects of a unit. Unchanged objects are not encoded again. Kinds that are not Istio's are
    /// ignored.
    pub fn set_objects<'a>(&mut self, unit: &Unit, objects: impl IntoIterator<Item = &'a GeneratedObject>) {
        let (unit, before) = self
            .unit_resources
            .remove_entry(unit)
            .unwrap_or_else(|| (Arc::new(unit.clone()), Box::default()));
        let now: Vec<_> = objects.into_iter().filter_map(|object| self.put_object(&unit, object)).collect();
        for (kind, key) in before.into_iter().filter(|id| !now.contains(id)) {
            self.remove_resource(&unit, kind, &key);
        }
        if !now.is_empty() {
            self.unit_resources.insert(unit, now.into());
        }
    }

    /// Builds a snapshot of the current objects. A type without changes keeps its set.
    pub fn publish(&mut self) -> McpSnapshot {
        let changed = std::mem::take(&mut self.changed);
        // The first call publishes a snapshot even if it is empty: from then on the content is known.
        if self.snapshot.0.is_none() || !changed.is_empty() {
            self.snapshot = self.build_snapshot(&changed);
        }
        self.snapshot()
    }

    /// Returns the current content of the store.
    pub fn snapshot(&self) -> McpSnapshot {
        self.snapshot.clone()
    }

    /// Stores an object, and returns its kind and key. `None` for a kind that istiod does not read.
    fn put_object(
        &mut self,
        unit: &Arc<Unit>,
        object: &GeneratedObject,
    ) -> Option<(GeneratedKind, ObjectKey)> {
        let body = encode_spec(&object.content)?;
        let kind = object.kind();
        let key = ObjectKey { namespace: Arc::clone(&object.namespace), name: object.name.as_str().into() };
        let metadata = resource_metadata(object, &key);
        let hash = content_hash(&metadata, &body);
        let stored = self.resources.entry(kind).or_default();
        // The hash covers all but the version, which is the hash itself. If it is equal, the encoded bytes stay.
        if let Some(before) = stored.get_mut(&key).filter(|before| before.hash == hash) {
            before.unit = Arc::clone(unit);
            return Some((kind, key));
        }
        let bytes = encode_resource(&hash, metadata, body);
        stored.insert(key.clone(), StoredResource { unit: Arc::clone(unit), hash, bytes });
        self.changed.insert(kind);
        Some((kind, key))
    }

    /// Removes a resource, unless another unit asks for it by now.
    fn remove_resource(&mut self, unit: &Arc<Unit>, kind: GeneratedKind, key: &ObjectKey) {
        let Some(resources) = self.resources.get_mut(&kind) else { return };
        if resources.get(key).is_some_and(|resource| resource.unit == *unit) {
            resources.remove(key);
            self.changed.insert(kind);
        }
    }

    fn build_snapshot(&self, changed: &BTreeSet<GeneratedKind>) -> McpSnapshot {
        let sets = self.resources.iter().map(|(kind, items)| {
            let type_url = type_url(*kind);
            let before = self.snapshot.find_type(&type_url).filter(|_| !changed.contains(kind));
            let set = before.map_or_else(|| Arc::new(TypeResources::from_stored(items)), Arc::clone);
            (type_url, set)
        });
        McpSnapshot(Some(Arc::new(sets.collect())))
    }
}

impl McpSnapshot {
    /// Returns the resources of a type. `None` if the content is not known yet. The set is empty for a type that
    /// Emcee does not write.
    pub fn resources_of(&self, type_url: &str) -> Option<&Arc<TypeResources>> {
        self.0.as_ref()?;
        Some(self.find_type(type_url).unwrap_or(&EMPTY_SET))
    }

    fn find_type(&self, type_url: &str) -> Option<&Arc<TypeResources>> {
        self.0.as_ref()?.get(type_url)
    }
}

impl TypeResources {
    fn from_stored(items: &BTreeMap<ObjectKey, StoredResource>) -> Self {
        let mut hash = Sha256::new();
        for item in items.values() {
            hash.update(item.hash);
        }
        let resources = items.values().map(|item| item.bytes.clone()).collect();
        Self { version: HEXLOWER.encode(&truncate_hash(hash)), resources }
    }
}

/// Returns the type URL that istiod uses for a kind: `group/version/Kind`.
pub(super) fn type_url(kind: GeneratedKind) -> String {
    [kind.api_version(), "/", kind.as_str()].concat()
}

/// Encodes the spec of an object. `None` for kinds that istiod does not read from MCP.
fn encode_spec(body: &ObjectContent) -> Option<Any> {
    match body {
        ObjectContent::AuthorizationPolicy(spec) => Some(pack_any(&**spec)),
        ObjectContent::DestinationRule(spec) => Some(pack_any(&**spec)),
        ObjectContent::ServiceEntry(spec) => Some(pack_any(&**spec)),
        ObjectContent::VirtualService(spec) => Some(pack_any(&**spec)),
        ObjectContent::Gateway(spec) => Some(pack_any(&**spec)),
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

/// Encodes a resource as the `Any` that a response contains.
fn encode_resource(hash: &ContentHash, metadata: McpMetadata, body: Any) -> Bytes {
    let resource = McpResource {
        metadata: Some(McpMetadata { version: HEXLOWER.encode(hash), ..metadata }),
        body: Some(body),
    };
    let any = Any { type_url: RESOURCE_TYPE_URL.to_owned(), value: resource.encode_to_vec().into() };
    any.encode_to_vec().into()
}

fn pack_any<S: IstioSpec>(spec: &S) -> Any {
    Any { type_url: S::TYPE_URL.to_owned(), value: spec.encode_to_vec().into() }
}

/// Returns the metadata without the version.
fn resource_metadata(object: &GeneratedObject, key: &ObjectKey) -> McpMetadata {
    McpMetadata {
        name: key.to_string(),
        create_time: Some(CREATION_TIME),
        version: String::new(),
        labels: object.owner.labels().map(|(name, value)| (name.to_owned(), value)).collect(),
        annotations: object.annotations.clone(),
    }
}

fn content_hash(metadata: &McpMetadata, body: &Any) -> ContentHash {
    let mut hash = Sha256::new();
    // Length-delimited, so that different pairs cannot have the same encoding.
    hash.update(metadata.encode_length_delimited_to_vec());
    hash.update(body.encode_length_delimited_to_vec());
    truncate_hash(hash)
}

fn truncate_hash(hash: Sha256) -> ContentHash {
    let mut short = ContentHash::default();
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests;
