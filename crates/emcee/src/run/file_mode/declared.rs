//! Resources that the input directory names, valid or not. They tell which files of an earlier run have lost their
//! owner, also while some of the input is invalid.

use std::collections::HashSet;

use emcee_api::{GROUP, labels};
use emcee_core::names;
use emcee_yaml::{LoadedManifests, ManifestDocument};
use serde_json::Value;

use super::output_path::OutputPath;
use crate::inputs;

/// Kinds of the resources that own objects.
const OWNER_KINDS: [&str; 3] = ["MeshFedConfig", "ServiceExposition", "ServiceBinding"];

/// Owner of objects, as their `emcee.io/owner-*` labels name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LabelledOwner {
    kind: String,
    namespace: String,
    /// Name of the resource, shortened with a hash if it is too long for a label.
    name: String,
}

impl LabelledOwner {
    /// Returns `None` for a kind that does not own objects.
    fn new(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let owner =
            || Self { kind: kind.into(), namespace: namespace.into(), name: names::label_value(name) };
        OWNER_KINDS.contains(&kind).then(owner)
    }

    /// Owner of the object in a file. `None` if several resources share the object, or if a Service owns it.
    pub(super) fn from_file(place: &OutputPath, text: &str) -> Option<Self> {
        // The path of a status names its resource; a status has no labels.
        if place.is_status() {
            return Self::new(place.kind(), place.namespace(), place.name());
        }
        let object = emcee_yaml::read_text("", text.as_bytes()).documents.pop()?.value;
        let label = |label: &str| object["metadata"]["labels"].get(label).and_then(Value::as_str);
        Self::new(label(labels::OWNER_KIND)?, label(labels::OWNER_NAMESPACE)?, label(labels::OWNER_NAME)?)
    }

    /// Path of the resource itself, if Emcee has generated it. `None` if the label has only a shortened name.
    pub(super) fn resource_path(&self) -> Option<OutputPath> {
        let is_known = !names::is_hashed_label_value(&self.name);
        is_known.then(|| OutputPath::for_object(&self.kind, &self.namespace, &self.name).ok()).flatten()
    }
}

/// Resources that the input directory names, valid or not.
#[derive(Default)]
pub(super) struct DeclaredResources {
    /// Whether all files could be read and parsed. If not, there may be more resources than `owners`.
    is_complete: bool,
    owners: HashSet<LabelledOwner>,
}

impl DeclaredResources {
    /// Collects the resources of a read of the input directory.
    pub(super) fn from_reading(reading: &LoadedManifests) -> Self {
        let named = |document: &ManifestDocument| {
            let key = inputs::document_key(document);
            LabelledOwner::new(&document.kind, &key.namespace, &key.name)
                .filter(|_| document.group() == GROUP)
        };
        Self {
            is_complete: reading.problems.is_empty() && reading.unreadable.is_empty(),
            owners: reading.documents.iter().filter_map(named).collect(),
        }
    }

    /// Whether it is certain that a resource is not in the input directory.
    pub(super) fn lacks_owner(&self, owner: &LabelledOwner) -> bool {
        self.is_complete && !self.owners.contains(owner)
    }
}
