//! Follows what was read: keeps the last good version of what becomes invalid or cannot be read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use emcee_api::GROUP;
use emcee_core::catalogue::Published;
use emcee_core::inputs::{Change, Settings, WorkloadKind};
use emcee_core::key::{Key, ObjectRef};
use emcee_core::problem::Problem;
use emcee_core::status::Verdict;
use emcee_core::translate::{Translation, Unit};
use jiff::Timestamp;

use super::given::Given;
use crate::console::Console;
use crate::intake::{self, DEFAULT_NAMESPACE, Intake};
use crate::manifest::{self, Document, Reading, duplicates};

/// How much the time may move before certificates are judged again.
const HOUR: i64 = 3600;

pub(super) struct Follower {
    translation: Translation,
    /// Each object that the translation has, and the file it is from.
    present: BTreeMap<Id, Arc<str>>,
    /// Resources whose newest version was refused while an older one is in place.
    held: HashMap<ObjectRef, Vec<Problem>>,
    /// MeshFedConfigs whose newest Secret is broken while an older one is in place.
    bad_credentials: HashMap<ObjectRef, Problem>,
    /// Whether everything there is has once been read and understood since the start. Until then what is missing may
    /// be what an earlier run made objects of.
    sure: bool,
    /// The resources that were named when the folder was read last.
    given: Given,
    refused: bool,
    /// What was said last, so that it is not said again.
    said: BTreeSet<String>,
    /// What of the folder was said last.
    of_folder: BTreeSet<String>,
    /// What ran since discovery was last told.
    ran: Vec<Unit>,
}

/// An object of the inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Id {
    FedConfig(Key),
    Exposition(Key),
    Binding(Key),
    Service(Key),
    EndpointSlice(Key),
    Workload(WorkloadKind, Key),
    WorkloadEntry(Key),
    Credential(Key),
    CaSecret(Key),
    PeerAuthentication(Key),
    Subsets(Key),
    Node(Arc<str>),
}

impl Follower {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            translation: Translation::new(settings),
            present: BTreeMap::new(),
            held: HashMap::new(),
            bad_credentials: HashMap::new(),
            sure: false,
            given: Given::default(),
            refused: false,
            said: BTreeSet::new(),
            of_folder: BTreeSet::new(),
            ran: Vec::new(),
        }
    }

    pub(super) fn translation(&self) -> &Translation {
        &self.translation
    }

    /// How each resource is, newer versions that were refused included. A Service has no such status.
    pub(super) fn verdicts(&self) -> Vec<(ObjectRef, Verdict)> {
        let verdicts = self.translation.verdicts().into_iter();
        verdicts
            .filter(|(unit, _)| !matches!(unit, Unit::AutomaticExposition(_) | Unit::Imports(_)))
            .filter_map(|(unit, verdict)| Some((unit.resource()?, verdict)))
            .map(|(r, v)| self.judged(r, v))
            .collect()
    }

    fn judged(&self, resource: ObjectRef, mut verdict: Verdict) -> (ObjectRef, Verdict) {
        if let Some(problems) = self.held.get(&resource) {
            verdict = verdict.holding(problems);
        }
        if let Some(problem) = self.bad_credentials.get(&resource)
            && verdict.certificate == Some(Ok(()))
        {
            verdict.certificate = Some(Err(Box::new(problem.clone())));
        }
        (resource, verdict)
    }

    /// Whether what is not in the translation is known to be gone.
    pub(super) fn is_sure(&self) -> bool {
        self.sure
    }

    /// The resources that the folder names.
    pub(super) fn given(&self) -> &Given {
        &self.given
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Says whether that changed anything.
    pub(super) fn set_time(&mut self, now: Timestamp) -> bool {
        let mut settings = self.translation.inputs().settings().clone();
        if (now.as_second() - settings.now.as_second()).abs() >= HOUR {
            settings.now = now;
            let ran = self.translation.set_settings(settings);
            let changed = !ran.is_empty();
            self.ran.extend(ran);
            return changed;
        }
        false
    }

    /// What discovery has to be told, since it was asked for last.
    pub(super) fn published(&mut self) -> Vec<Published> {
        let ran = std::mem::take(&mut self.ran);
        self.translation.published(&ran)
    }

    /// Takes in what peers say.
    pub(super) fn hear(&mut self, changes: Vec<Change>, console: &mut Console<'_>) -> io::Result<()> {
        self.ran.extend(self.translation.update(changes));
        self.say(console)
    }

    /// Takes in what was read.
    pub(super) fn follow(&mut self, reading: &Reading, console: &mut Console<'_>) -> io::Result<()> {
        let cluster_domain = self.translation.inputs().settings().cluster_domain.clone();
        let (documents, repeated) = without_duplicates(&reading.documents);
        let broken: BTreeSet<&Arc<str>> = reading.problems.iter().map(|problem| &problem.file).collect();
        let mut refusals: Vec<manifest::Problem> = reading.problems.iter().cloned().chain(repeated).collect();
        // An object that is there, and cannot be used, is not gone.
        let mut found: BTreeMap<Id, Arc<str>> =
            reading.documents.iter().filter_map(|d| Some((Id::named(d)?, Arc::clone(&d.file)))).collect();
        found.retain(|id, _| self.present.contains_key(id));
        let mut intake = Intake::of(&documents, &cluster_domain);
        let now = self.translation.inputs().settings().now;
        let in_use: Vec<_> =
            self.translation.inputs().fed_configs().filter_map(|(_, config)| config.clone().ok()).collect();
        let bad = intake.bad_credentials(&in_use, now);
        let bad_secrets: HashSet<&Key> = bad.iter().map(|(secret, _)| secret).collect();
        let mut changes = Vec::new();
        let mut held = HashMap::new();
        let files: HashMap<Id, Arc<str>> =
            documents.iter().filter_map(|d| Some((Id::named(d)?, Arc::clone(&d.file)))).collect();
        for change in std::mem::take(&mut intake.changes) {
            let Some(id) = Id::of(&change) else {
                changes.push(change);
                continue;
            };
            found.extend(files.get(&id).map(|file| (id.clone(), Arc::clone(file))));
            let broken = matches!(&id, Id::Credential(key) if bad_secrets.contains(key));
            match refused(&change) {
                Some((resource, problems)) if self.is_good(&id) => {
                    held.insert(resource, problems);
                }
                // A Secret that breaks while in use: the last good one stays.
                None if broken && self.present.contains_key(&id) => {}
                _ => changes.push(change),
            }
        }
        refusals.append(&mut intake.refusals);
        self.bad_credentials = intake.bad_relationships(&in_use, now);
        refusals.extend(bad.into_iter().map(|(_, problem)| problem));
        for (id, file) in &self.present {
            if found.contains_key(id) {
                continue;
            }
            // What is not there may only not have been readable: then the last good version stays.
            if broken.contains(file) || !reading.unreadable.is_empty() {
                found.insert(id.clone(), Arc::clone(file));
            } else {
                changes.push(id.removal());
            }
        }
        self.present = found;
        self.held = held;
        self.ran.extend(self.translation.update(changes));
        let verdicts = self.translation.verdicts();
        self.refused = !refusals.is_empty()
            || !reading.unreadable.is_empty()
            || verdicts.iter().any(|(_, verdict)| !verdict.is_accepted());
        self.given = Given::of(reading);
        self.sure |= refusals.is_empty() && reading.unreadable.is_empty();
        self.of_folder = self.lines(reading, &refusals);
        self.say(console)
    }

    /// Whether a valid version of a user's resource is in place.
    fn is_good(&self, id: &Id) -> bool {
        let unit = match id {
            Id::FedConfig(key) => Unit::MeshFedConfig(key.clone()),
            Id::Exposition(key) => Unit::ServiceExposition(key.clone()),
            Id::Binding(key) => Unit::ServiceBinding(key.clone()),
            _ => return false,
        };
        self.translation.has_good(&unit)
    }

    /// What there is to say of what was read.
    fn lines(&self, reading: &Reading, refusals: &[manifest::Problem]) -> BTreeSet<String> {
        let unreadable = reading.unreadable.iter();
        let unreadable = unreadable
            .map(|unreadable| format!("emcee: {unreadable}: all that was read before stays in place"));
        let kept = |resource: &ObjectRef| {
            let how =
                if self.is_in_place(resource) { "stays in place" } else { "counts, and is not in place" };
            format!("kept: {resource}: its last good version {how}")
        };
        unreadable.chain(refusals.iter().map(ToString::to_string)).chain(self.held.keys().map(kept)).collect()
    }

    /// Whether what a resource asked for in its last good version is there.
    fn is_in_place(&self, resource: &ObjectRef) -> bool {
        let key = resource.key.clone();
        let unit = match resource.kind {
            "MeshFedConfig" => Unit::MeshFedConfig(key),
            "ServiceExposition" => Unit::ServiceExposition(key),
            _ => Unit::ServiceBinding(key),
        };
        self.translation.verdict(&unit).is_some_and(|verdict| verdict.is_programmed())
    }

    fn say(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let mut said = self.of_folder.clone();
        for (unit, verdict) in self.translation.verdicts() {
            let problems = verdict.refusals.iter().chain(&verdict.failures);
            said.extend(problems.map(|problem| format!("not generated: {unit}: {problem}")));
        }
        if !self.sure {
            said.insert(
                "emcee: until that is fixed, nothing is removed that an earlier run wrote for a resource that is still there, or for several".to_owned(),
            );
        }
        for line in said.difference(&self.said) {
            console.refusal(line)?;
        }
        self.said = said;
        Ok(())
    }
}

/// The documents that are there once, and the refusals of the others: which of two counts cannot be guessed.
fn without_duplicates(documents: &[Document]) -> (Vec<Document>, Vec<manifest::Problem>) {
    let again = duplicates(documents, DEFAULT_NAMESPACE);
    let pairs =
        again.iter().flat_map(|pair| [std::ptr::from_ref(pair.first), std::ptr::from_ref(pair.again)]);
    let pairs: HashSet<*const Document> = pairs.collect();
    let twice = |document: &Document| pairs.contains(&std::ptr::from_ref(document));
    let once = documents.iter().filter(|document| !twice(document)).cloned().collect();
    let both = again.iter().flat_map(|pair| {
        let message = format!("is given twice (again at {}:{})", pair.again.file, pair.again.line);
        [pair.first.problem(Some("metadata.name"), message), pair.problem()]
    });
    (once, both.collect())
}

fn refused(change: &Change) -> Option<(ObjectRef, Vec<Problem>)> {
    let (kind, key, problems) = match change {
        Change::FedConfig(key, Some(Err(problems))) => ("MeshFedConfig", key, problems),
        Change::Exposition(key, Some(Err(problems))) => ("ServiceExposition", key, problems),
        Change::Binding(key, Some(Err(problems))) => ("ServiceBinding", key, problems),
        _ => return None,
    };
    Some((ObjectRef { kind, key: key.clone() }, problems.clone()))
}

impl Id {
    /// The object that a change is about; none of what is no object.
    fn of(change: &Change) -> Option<Self> {
        Some(match change {
            Change::FedConfig(key, _) => Self::FedConfig(key.clone()),
            Change::Exposition(key, _) => Self::Exposition(key.clone()),
            Change::Binding(key, _) => Self::Binding(key.clone()),
            Change::Service(key, _) => Self::Service(key.clone()),
            Change::EndpointSlice(key, _) => Self::EndpointSlice(key.clone()),
            Change::Workload(kind, key, _) => Self::Workload(*kind, key.clone()),
            Change::WorkloadEntry(key, _) => Self::WorkloadEntry(key.clone()),
            Change::Credential(key, _) => Self::Credential(key.clone()),
            Change::CaSecret(key, _) => Self::CaSecret(key.clone()),
            Change::PeerAuthentication(key, _) => Self::PeerAuthentication(key.clone()),
            Change::Subsets(key, _) => Self::Subsets(key.clone()),
            Change::Node(name, _) => Self::Node(Arc::clone(name)),
            Change::Namespace(..) | Change::Announcement(..) | Change::Peer(..) => return None,
        })
    }

    /// The object that a document claims to be.
    fn named(document: &Document) -> Option<Self> {
        let key = intake::key(document);
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

    fn removal(&self) -> Change {
        match self.clone() {
            Self::FedConfig(key) => Change::FedConfig(key, None),
            Self::Exposition(key) => Change::Exposition(key, None),
            Self::Binding(key) => Change::Binding(key, None),
            Self::Service(key) => Change::Service(key, None),
            Self::EndpointSlice(key) => Change::EndpointSlice(key, None),
            Self::Workload(kind, key) => Change::Workload(kind, key, None),
            Self::WorkloadEntry(key) => Change::WorkloadEntry(key, None),
            Self::Credential(key) => Change::Credential(key, None),
            Self::CaSecret(key) => Change::CaSecret(key, false),
            Self::PeerAuthentication(key) => Change::PeerAuthentication(key, None),
            Self::Subsets(key) => Change::Subsets(key, None),
            Self::Node(name) => Change::Node(name, None),
        }
    }
}
