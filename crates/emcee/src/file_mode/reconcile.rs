//! Applies what was read to the translation. Keeps the last good version of an object that becomes invalid or cannot be
//! read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use emcee_api::GROUP;
use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::{InputChange, TranslationSettings, WorkloadKind};
use emcee_core::key::{ObjectKey, ObjectRef};
use emcee_core::problem::ResourceProblem;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_yaml::{FileProblem, LoadedManifests, ManifestDocument, find_duplicates};
use jiff::Timestamp;

use super::declared::DeclaredResources;
use crate::console::Console;
use crate::inputs::{self, DEFAULT_NAMESPACE, DocumentInputs};

/// Seconds after which certificates are checked against the time again.
const CERTIFICATE_CHECK_SECONDS: i64 = 3600;

/// Keeps the translation up to date with the input directory and the peers.
pub(super) struct FileReconciler {
    translation: Translation,
    /// Each input object of the translation, and the file that it comes from.
    present: BTreeMap<InputId, Arc<str>>,
    /// Resources whose newest version is invalid while an older, valid one is in use, with the problems of the newest.
    refused_versions: HashMap<ObjectRef, Vec<ResourceProblem>>,
    /// MeshFedConfigs whose newest Secret cannot be used while an older one is in use, with the problem of the newest.
    credential_problems: HashMap<ObjectRef, ResourceProblem>,
    /// Whether the whole input has been valid once since the start. Before that, a missing resource may be one that
    /// could not be read, and its objects of an earlier run must stay.
    inputs_complete: bool,
    /// Resources that the input directory named at the last read, valid or not.
    declared: DeclaredResources,
    /// Whether the last read refused anything.
    has_refusals: bool,
    /// Messages that were printed last, so that each is printed once while it stays the same.
    printed: BTreeSet<String>,
    /// Messages of the last read of the input directory.
    input_messages: BTreeSet<String>,
    /// Units that were translated since the last catalogue updates.
    changed_units: Vec<Unit>,
}

/// Identity of an input object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum InputId {
    FedConfig(ObjectKey),
    Exposition(ObjectKey),
    Binding(ObjectKey),
    Service(ObjectKey),
    EndpointSlice(ObjectKey),
    Workload(WorkloadKind, ObjectKey),
    WorkloadEntry(ObjectKey),
    Credential(ObjectKey),
    CaSecret(ObjectKey),
    PeerAuthentication(ObjectKey),
    Subsets(ObjectKey),
    Node(Arc<str>),
}

impl FileReconciler {
    pub(super) fn new(settings: TranslationSettings) -> Self {
        Self {
            translation: Translation::new(settings),
            present: BTreeMap::new(),
            refused_versions: HashMap::new(),
            credential_problems: HashMap::new(),
            inputs_complete: false,
            declared: DeclaredResources::default(),
            has_refusals: false,
            printed: BTreeSet::new(),
            input_messages: BTreeSet::new(),
            changed_units: Vec::new(),
        }
    }

    pub(super) fn translation(&self) -> &Translation {
        &self.translation
    }

    /// Verdict on each resource, including the problems of newer versions that were refused.
    ///
    /// Leaves out Services that are exposed by labels, as they have no such status, and the imports of a MeshFedConfig,
    /// as they have no status of their own.
    pub(super) fn verdicts(&self) -> Vec<(ObjectRef, ResourceVerdict)> {
        let verdicts = self.translation.verdicts().into_iter();
        verdicts
            .filter(|(unit, _)| !matches!(unit, Unit::AutomaticExposition(_) | Unit::Imports(_)))
            .filter_map(|(unit, verdict)| Some((unit.resource()?, verdict)))
            .map(|(r, v)| self.with_input_problems(r, v))
            .collect()
    }

    /// Adds the problems of newer versions to the verdict on the version in use.
    fn with_input_problems(
        &self,
        resource: ObjectRef,
        mut verdict: ResourceVerdict,
    ) -> (ObjectRef, ResourceVerdict) {
        if let Some(problems) = self.refused_versions.get(&resource) {
            verdict = verdict.with_refused_update(problems);
        }
        // A problem of the Secret that is in use takes precedence.
        if let Some(problem) = self.credential_problems.get(&resource)
            && verdict.certificate == Some(Ok(()))
        {
            verdict.certificate = Some(Err(Box::new(problem.clone())));
        }
        (resource, verdict)
    }

    /// Whether a resource that is not in the translation is known to be gone. Otherwise it may only be unreadable.
    pub(super) fn has_complete_inputs(&self) -> bool {
        self.inputs_complete
    }

    /// Resources that the input directory names, valid or not.
    pub(super) fn declared_resources(&self) -> &DeclaredResources {
        &self.declared
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.has_refusals
    }

    /// Sets the time, at most once an hour, as it runs the translation again. Returns whether any unit has changed.
    pub(super) fn set_time(&mut self, now: Timestamp) -> bool {
        let mut settings = self.translation.inputs().settings().clone();
        // In both directions: the clock may have been corrected.
        if (now.as_second() - settings.now.as_second()).abs() >= CERTIFICATE_CHECK_SECONDS {
            settings.now = now;
            let ran = self.translation.set_settings(settings);
            let changed = !ran.is_empty();
            self.changed_units.extend(ran);
            return changed;
        }
        false
    }

    /// Takes the catalogue updates for discovery since the last call.
    pub(super) fn take_catalogue_updates(&mut self) -> Vec<CatalogueUpdate> {
        let ran = std::mem::take(&mut self.changed_units);
        self.translation.catalogue_updates(&ran)
    }

    /// Applies changes of peers, and prints new messages.
    pub(super) fn apply_peer_changes(
        &mut self,
        changes: Vec<InputChange>,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        self.changed_units.extend(self.translation.update(changes));
        self.print_new_messages(console)
    }

    /// Applies the content of the input directory, and prints new messages.
    ///
    /// An object that is invalid, ambiguous or unreadable keeps its last good version. An object is removed only if it
    /// is certain that no file contains it.
    pub(super) fn reconcile(
        &mut self,
        reading: &LoadedManifests,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let cluster_domain = self.translation.inputs().settings().cluster_domain.clone();
        let (documents, repeated) = without_duplicates(&reading.documents);
        let broken: BTreeSet<&Arc<str>> = reading.problems.iter().map(|problem| &problem.file).collect();
        let mut refusals: Vec<FileProblem> = reading.problems.iter().cloned().chain(repeated).collect();
        // Starts with all objects that any document names, including invalid and repeated ones: they are not gone. Only
        // those in use matter here; new ones are added below.
        let mut found: BTreeMap<InputId, Arc<str>> = reading
            .documents
            .iter()
            .filter_map(|d| Some((InputId::from_document(d)?, Arc::clone(&d.file))))
            .collect();
        found.retain(|id, _| self.present.contains_key(id));
        let mut inputs = DocumentInputs::from_documents(&documents, &cluster_domain);
        let now = self.translation.inputs().settings().now;
        // MeshFedConfigs of earlier reads, as their newest version may be invalid here but the older one still selects
        // a Secret.
        let in_use: Vec<_> =
            self.translation.inputs().fed_configs().filter_map(|(_, config)| config.clone().ok()).collect();
        let bad = inputs.credential_problems(&in_use, now);
        let bad_secrets: HashSet<&ObjectKey> = bad.iter().map(|(secret, _)| secret).collect();
        let mut changes = Vec::new();
        let mut held = HashMap::new();
        let files: HashMap<InputId, Arc<str>> = documents
            .iter()
            .filter_map(|d| Some((InputId::from_document(d)?, Arc::clone(&d.file))))
            .collect();
        for change in std::mem::take(&mut inputs.changes) {
            // A change that is not about an object cannot be held back.
            let Some(id) = InputId::from_change(&change) else {
                changes.push(change);
                continue;
            };
            found.extend(files.get(&id).map(|file| (id.clone(), Arc::clone(file))));
            let broken = matches!(&id, InputId::Credential(key) if bad_secrets.contains(key));
            match refused_resource(&change) {
                // Invalid, but an older valid version is in use: it stays, and the status reports the problems.
                Some((resource, problems)) if self.has_valid_version(&id) => {
                    held.insert(resource, problems);
                }
                // A Secret that breaks while it is in use: the last good one stays.
                None if broken && self.present.contains_key(&id) => {}
                // Valid, or invalid without a valid predecessor: then the translation reports the problems.
                _ => changes.push(change),
            }
        }
        refusals.append(&mut inputs.refusals);
        self.credential_problems = inputs.relationship_problems(&in_use, now);
        refusals.extend(bad.into_iter().map(|(_, problem)| problem));
        for (id, file) in &self.present {
            if found.contains_key(id) {
                continue;
            }
            // The object may be in the part of its file that could not be parsed, or in a file that could not be read:
            // then the last good version stays.
            if broken.contains(file) || !reading.unreadable.is_empty() {
                found.insert(id.clone(), Arc::clone(file));
            } else {
                changes.push(id.removal_change());
            }
        }
        self.present = found;
        self.refused_versions = held;
        self.changed_units.extend(self.translation.update(changes));
        let verdicts = self.translation.verdicts();
        self.has_refusals = !refusals.is_empty()
            || !reading.unreadable.is_empty()
            || verdicts.iter().any(|(_, verdict)| !verdict.is_accepted());
        self.declared = DeclaredResources::from_reading(reading);
        // Never reset: from then on `present` knows each object, and tells a removed one from an unreadable one.
        self.inputs_complete |= refusals.is_empty() && reading.unreadable.is_empty();
        self.input_messages = self.messages_for(reading, &refusals);
        self.print_new_messages(console)
    }

    /// Whether a valid version of a user's resource is in use.
    fn has_valid_version(&self, id: &InputId) -> bool {
        let unit = match id {
            InputId::FedConfig(key) => Unit::MeshFedConfig(key.clone()),
            InputId::Exposition(key) => Unit::ServiceExposition(key.clone()),
            InputId::Binding(key) => Unit::ServiceBinding(key.clone()),
            _ => return false,
        };
        self.translation.has_valid_resource(&unit)
    }

    /// Messages about the last read: unreadable files, refusals, and resources whose last good version is kept.
    fn messages_for(&self, reading: &LoadedManifests, refusals: &[FileProblem]) -> BTreeSet<String> {
        let unreadable = reading.unreadable.iter();
        let unreadable = unreadable
            .map(|unreadable| format!("emcee: {unreadable}: all that was read before stays in place"));
        let kept = |resource: &ObjectRef| {
            let how = if self.is_programmed(resource) {
                "stays in place"
            } else {
                "is used, but its objects are not in place"
            };
            format!("kept: {resource}: its last good version {how}")
        };
        unreadable
            .chain(refusals.iter().map(ToString::to_string))
            .chain(self.refused_versions.keys().map(kept))
            .collect()
    }

    /// Whether the objects of a resource's last good version are in place.
    fn is_programmed(&self, resource: &ObjectRef) -> bool {
        let key = resource.key.clone();
        let unit = match resource.kind {
            "MeshFedConfig" => Unit::MeshFedConfig(key),
            "ServiceExposition" => Unit::ServiceExposition(key),
            _ => Unit::ServiceBinding(key),
        };
        self.translation.verdict(&unit).is_some_and(|verdict| verdict.is_programmed())
    }

    /// Prints those messages that were not printed last time.
    fn print_new_messages(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let mut messages = self.input_messages.clone();
        for (unit, verdict) in self.translation.verdicts() {
            let problems = verdict.refusals.iter().chain(&verdict.failures);
            messages.extend(problems.map(|problem| format!("not generated: {unit}: {problem}")));
        }
        if !self.inputs_complete {
            messages.insert(
                "emcee: until this is fixed, files that an earlier run wrote are removed only if the resource that owns them is gone".to_owned(),
            );
        }
        for line in messages.difference(&self.printed) {
            console.print_error(line)?;
        }
        self.printed = messages;
        Ok(())
    }
}

/// Returns the documents without those that describe the same object, and the refusals of these: it is not clear which
/// of them is meant.
fn without_duplicates(documents: &[ManifestDocument]) -> (Vec<ManifestDocument>, Vec<FileProblem>) {
    let again = find_duplicates(documents, DEFAULT_NAMESPACE);
    let pairs =
        again.iter().flat_map(|pair| [std::ptr::from_ref(pair.first), std::ptr::from_ref(pair.second)]);
    let pairs: HashSet<*const ManifestDocument> = pairs.collect();
    let twice = |document: &ManifestDocument| pairs.contains(&std::ptr::from_ref(document));
    let once = documents.iter().filter(|document| !twice(document)).cloned().collect();
    let both = again.iter().flat_map(|pair| {
        let message = format!("is given twice (again at {}:{})", pair.second.file, pair.second.line);
        [pair.first.problem_at(Some("metadata.name"), message), pair.to_problem()]
    });
    (once, both.collect())
}

/// Resource and problems of a change that contains an invalid resource; `None` for any other change.
fn refused_resource(change: &InputChange) -> Option<(ObjectRef, Vec<ResourceProblem>)> {
    let (kind, key, problems) = match change {
        InputChange::FedConfig(key, Some(Err(problems))) => ("MeshFedConfig", key, problems),
        InputChange::Exposition(key, Some(Err(problems))) => ("ServiceExposition", key, problems),
        InputChange::Binding(key, Some(Err(problems))) => ("ServiceBinding", key, problems),
        _ => return None,
    };
    Some((ObjectRef { kind, key: key.clone() }, problems.clone()))
}

impl InputId {
    /// Identity of the object that a change concerns; `None` if it does not concern an object of the input directory.
    fn from_change(change: &InputChange) -> Option<Self> {
        Some(match change {
            InputChange::FedConfig(key, _) => Self::FedConfig(key.clone()),
            InputChange::Exposition(key, _) => Self::Exposition(key.clone()),
            InputChange::Binding(key, _) => Self::Binding(key.clone()),
            InputChange::Service(key, _) => Self::Service(key.clone()),
            InputChange::EndpointSlice(key, _) => Self::EndpointSlice(key.clone()),
            InputChange::Workload(kind, key, _) => Self::Workload(*kind, key.clone()),
            InputChange::WorkloadEntry(key, _) => Self::WorkloadEntry(key.clone()),
            InputChange::Credential(key, _) => Self::Credential(key.clone()),
            InputChange::CaSecret(key, _) => Self::CaSecret(key.clone()),
            InputChange::PeerAuthentication(key, _) => Self::PeerAuthentication(key.clone()),
            InputChange::DestinationRule(key, _) => Self::Subsets(key.clone()),
            InputChange::Node(name, _) => Self::Node(Arc::clone(name)),
            InputChange::Namespace(..) | InputChange::Announcement(..) | InputChange::Peer(..) => {
                return None;
            }
        })
    }

    /// Identity of the object that a document describes, valid or not; `None` for a kind that Emcee does not read.
    fn from_document(document: &ManifestDocument) -> Option<Self> {
        let key = inputs::document_key(document);
        Some(match (document.group(), document.kind.as_str()) {
            (GROUP, "MeshFedConfig") => Self::FedConfig(key),
            (GROUP, "ServiceExposition") => Self::Exposition(key),
            (GROUP, "ServiceBinding") => Self::Binding(key),
            ("", "Service") => Self::Service(key),
            ("", "Node") => Self::Node(key.name),
            ("", "Pod") => Self::Workload(WorkloadKind::Pod, key),
            ("", "Secret") => Self::Credential(key),
            ("apps", "Deployment") => Self::Workload(WorkloadKind::Deployment, key),
            ("discovery.k8s.io", "EndpointSlice") => Self::EndpointSlice(key),
            ("networking.istio.io", "DestinationRule") => Self::Subsets(key),
            ("networking.istio.io", "WorkloadEntry") => Self::WorkloadEntry(key),
            ("security.istio.io", "PeerAuthentication") => Self::PeerAuthentication(key),
            _ => return None,
        })
    }

    /// Change that removes the object.
    fn removal_change(&self) -> InputChange {
        match self.clone() {
            Self::FedConfig(key) => InputChange::FedConfig(key, None),
            Self::Exposition(key) => InputChange::Exposition(key, None),
            Self::Binding(key) => InputChange::Binding(key, None),
            Self::Service(key) => InputChange::Service(key, None),
            Self::EndpointSlice(key) => InputChange::EndpointSlice(key, None),
            Self::Workload(kind, key) => InputChange::Workload(kind, key, None),
            Self::WorkloadEntry(key) => InputChange::WorkloadEntry(key, None),
            Self::Credential(key) => InputChange::Credential(key, None),
            Self::CaSecret(key) => InputChange::CaSecret(key, false),
            Self::PeerAuthentication(key) => InputChange::PeerAuthentication(key, None),
            Self::Subsets(key) => InputChange::DestinationRule(key, None),
            Self::Node(name) => InputChange::Node(name, None),
        }
    }
}
