//! Which resources the folder names, and so of which files of an earlier run the resource is gone, also while not all
//! that was read is understood.

use std::collections::HashSet;

use emcee_api::{GROUP, labels};
use emcee_core::names;
use serde_json::Value;

use super::place::Place;
use crate::intake;
use crate::manifest::{self, Document, Reading};

/// The kinds of the resources that own objects.
const KINDS: [&str; 3] = ["MeshFedConfig", "ServiceExposition", "ServiceBinding"];

/// A resource, as the labels of its objects name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    kind: String,
    namespace: String,
    /// A hash of it, if it is too long for a label.
    name: String,
}

impl Owner {
    fn new(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let owner =
            || Self { kind: kind.into(), namespace: namespace.into(), name: names::label_value(name) };
        KINDS.contains(&kind).then(owner)
    }

    /// The resource that asked for the object of a file. None of one that resources share, or a Service asked for.
    pub(super) fn of(place: &Place, text: &str) -> Option<Self> {
        if place.is_status() {
            return Self::new(place.kind(), place.namespace(), place.name());
        }
        let object = manifest::read_text("", text.as_bytes()).documents.pop()?.value;
        let label = |label: &str| object["metadata"]["labels"].get(label).and_then(Value::as_str);
        Self::new(label(labels::OWNER_KIND)?, label(labels::OWNER_NAMESPACE)?, label(labels::OWNER_NAME)?)
    }

    /// The file of the resource itself, if Emcee made it. None of one whose name is not known.
    pub(super) fn place(&self) -> Option<Place> {
        let is_known = !names::is_shortened(&self.name);
        is_known.then(|| Place::of_object(&self.kind, &self.namespace, &self.name).ok()).flatten()
    }
}

/// The resources that the folder names, understood or not.
#[derive(Default)]
pub(super) struct Given {
    /// Whether all text could be read: else more may be named.
    is_whole: bool,
    owners: HashSet<Owner>,
}

impl Given {
    pub(super) fn of(reading: &Reading) -> Self {
        let named = |document: &Document| {
            let key = intake::key(document);
            Owner::new(&document.kind, &key.namespace, &key.name).filter(|_| document.group() == GROUP)
        };
        Self {
            is_whole: reading.problems.is_empty() && reading.unreadable.is_empty(),
            owners: reading.documents.iter().filter_map(named).collect(),
        }
    }

    /// Whether a resource is known not to be in the folder.
    pub(super) fn lacks(&self, owner: &Owner) -> bool {
        self.is_whole && !self.owners.contains(owner)
    }
}
