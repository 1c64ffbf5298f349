//! A cluster at one moment: what a controller that starts now would do.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::diff::{FieldDifference, find_drift};
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::translate::{Translation, Unit};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::apply::{Body, hand_over, is_as_wanted, is_copy_of, outdated};
use crate::observe::fact::{Fact, Live, ObjectId, Origin};
use crate::observe::{Observation, Watches, What, generated_kind};
use crate::options::Options;
use crate::translate::Model;

/// Maximum number of objects that are read at once.
const AT_ONCE: usize = 16;

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Watches fail; a line for each cause.
    #[error("the cluster cannot be read: {}", .0.join("; "))]
    Blocked(Vec<String>),
    /// A kind, or one object, cannot be read.
    #[error("{0} cannot be read")]
    Object(String, #[source] kube::Error),
}

/// A cluster at one moment.
pub struct Snapshot {
    client: Client,
    model: Model,
    live: BTreeMap<ObjectId, Live>,
}

/// An object that differs from the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Kind of the object.
    pub kind: GeneratedKind,
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// What a controller would do with the object.
    pub step: Step,
}

/// What a controller would do with an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The object does not exist.
    Create,
    /// The object has other content.
    Change(Vec<FieldDifference>),
    /// The object is Emcee's, and no resource asks for it.
    Remove,
    /// Another client wrote the object with the desired content. Emcee becomes its manager.
    TakeOver,
    /// Nothing: the object exists and is not managed by Emcee.
    Yield,
    /// Nothing: another client wrote the object with Emcee's label and with other content, or, without
    /// differences, no resource asks for it. The text is what an administrator can do.
    Leave(Vec<FieldDifference>, String),
}

impl Step {
    /// Reports whether an object that differs from the desired state is left alone.
    pub fn is_left(&self) -> bool {
        matches!(self, Self::Yield | Self::Leave(..))
    }
}

impl Snapshot {
    /// Reads a cluster with the watches of a controller, until each has completed its list.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn take(client: Client, options: &Options) -> Result<Self, SnapshotError> {
        let inputs = settled(|out| Watches::of_inputs(&client, options, out));
        let generated = settled(|out| Watches::of_generated(&client, options, out));
        let (inputs, generated) = tokio::try_join!(inputs, generated)?;
        let model = Model::new(options);
        let mut snapshot = Self { client, model, live: BTreeMap::new() };
        snapshot.see(inputs.into_iter().chain(generated));
        Ok(snapshot)
    }

    fn see(&mut self, facts: impl Iterator<Item = Fact>) {
        let mut changes = Vec::new();
        for fact in facts {
            match fact {
                Fact::Input(change) => changes.push(change),
                Fact::Resource(resource) => changes.extend(self.model.note(*resource)),
                Fact::ResourceGone(unit) => changes.extend(self.model.forget(&unit)),
                Fact::Live(live) => drop(self.live.insert(live.id.clone(), *live)),
                Fact::LiveGone(id) => drop(self.live.remove(&id)),
                Fact::RootHash(hash) => self.model.take_settings(|settings| settings.root_hash = hash),
                Fact::MeshTrust(trust) => self.model.take_mesh_trust(trust),
                // A snapshot ends the watches after their first list.
                Fact::Listing(_) | Fact::Listed(_) => {}
            }
        }
        self.model.update(changes);
    }

    /// Applies changes to the snapshot, not to the cluster.
    pub fn update(&mut self, changes: Vec<InputChange>) {
        self.model.update(changes);
    }

    /// Returns the translation of the inputs.
    pub fn translation(&self) -> &Translation {
        self.model.translation()
    }

    /// Returns the current status of a resource. For an exposition or a binding, conditions have no messages.
    pub fn status(&self, unit: &Unit) -> Option<Value> {
        self.model.resource(unit).map(|known| known.said.kept())
    }

    /// Returns what a controller would do: in the order of applying, then what it would remove.
    ///
    /// # Errors
    /// It cannot be determined whether a name is taken.
    pub async fn divergences(&self) -> Result<Vec<Divergence>, SnapshotError> {
        let mut divergences = self.compare();
        // Only objects that seem not to exist need a request.
        let created = divergences.iter().enumerate().filter(|(_, found)| found.step == Step::Create);
        let looks = created.map(|(index, found)| async move { Ok((index, self.is_taken(found).await?)) });
        let taken: Vec<(usize, bool)> =
            stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        for (index, _) in taken.into_iter().filter(|(_, taken)| *taken) {
            divergences[index].step = Step::Yield;
        }
        Ok(divergences)
    }

    /// Reports whether the object exists without Emcee's label. The watches do not return such objects.
    async fn is_taken(&self, found: &Divergence) -> Result<bool, SnapshotError> {
        let (name, resource) = generated_kind(found.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &found.key.namespace, &resource);
        let there = api.get_metadata_opt(&found.key.name).await;
        let there = there.map_err(|error| SnapshotError::Object(format!("{name} {}", found.key), error))?;
        Ok(there.is_some())
    }

    fn compare(&self) -> Vec<Divergence> {
        let owners = self.owners();
        let mut wanted = BTreeSet::new();
        let mut found = Vec::new();
        for object in self.translation().objects() {
            let id = ObjectId { kind: object.kind(), key: ObjectKey::new(&object.namespace, &object.name) };
            let uid = owners.get(&id).and_then(|unit| self.model.owner_uid(unit));
            let body = Body::of(&object, uid);
            found.extend(step(self.live.get(&id), &body).map(|step| divergence(&id, step)));
            wanted.insert(id);
        }
        // An object that is being deleted needs nothing more.
        let unwanted = self.live.iter().filter(|(id, live)| !wanted.contains(id) && !live.deleting);
        found.extend(unwanted.filter_map(|(id, live)| Some(divergence(id, farewell(live)?))));
        found
    }

    /// Returns the unit of each object.
    fn owners(&self) -> BTreeMap<ObjectId, &Unit> {
        let translation = self.translation();
        let of = |object: &GeneratedObject| ObjectId {
            kind: object.kind(),
            key: ObjectKey::new(&object.namespace, &object.name),
        };
        translation
            .units()
            .flat_map(|unit| translation.objects_of(unit).into_iter().map(move |object| (of(&object), unit)))
            .collect()
    }
}

fn divergence(id: &ObjectId, step: Step) -> Divergence {
    Divergence { kind: id.kind, key: id.key.clone(), step }
}

/// Returns what a controller would do with a desired object, as in `reconcile`.
fn step(live: Option<&Live>, wanted: &Body) -> Option<Step> {
    let Some(live) = live else { return Some(Step::Create) };
    let kind = live.id.kind;
    let exact = kind.group().ends_with(".istio.io");
    let deviations = || find_drift(&live.body, &wanted.value, exact);
    match live.origin() {
        Origin::Other => Some(Step::Yield),
        Origin::Copy if is_copy_of(kind, &live.body, &wanted.value) => Some(Step::TakeOver),
        Origin::Copy => Some(Step::Leave(deviations(), hand_over(&live.id))),
        Origin::Emcee => {
            let applied = live.applied.as_ref();
            let outdated = applied.map(|applied| outdated(applied, &live.body, &wanted.value));
            let outdated = outdated.unwrap_or_default();
            let changes = !is_as_wanted(kind, &live.body, &wanted.value) || !outdated.is_empty();
            changes.then(|| {
                Step::Change(deviations().into_iter().chain(unless_exact(exact, outdated)).collect())
            })
        }
    }
}

/// Returns what a controller would do with an object that no resource asks for.
fn farewell(live: &Live) -> Option<Step> {
    match live.origin() {
        Origin::Emcee => Some(Step::Remove),
        Origin::Copy => Some(Step::Leave(Vec::new(), hand_over(&live.id))),
        Origin::Other => None,
    }
}

/// Removes what is a deviation already: in Istio's kinds, content that is not desired.
fn unless_exact(exact: bool, outdated: Vec<FieldDifference>) -> impl Iterator<Item = FieldDifference> {
    outdated.into_iter().filter(move |it| !exact || it.field.starts_with("metadata."))
}

/// Returns all updates of a set of watches until each has completed its list.
pub(crate) async fn settled(
    watch: impl FnOnce(&mpsc::Sender<Observation>) -> Watches,
) -> Result<Vec<Fact>, SnapshotError> {
    let (sender, mut observations) = mpsc::channel(1024);
    let watches = watch(&sender);
    let mut waiting: BTreeMap<usize, Option<String>> =
        (0..watches.sources().len()).map(|number| (number, None)).collect();
    let mut facts = Vec::new();
    while !waiting.is_empty() {
        // All that is left has failed at least once. A controller would go on, but a snapshot should fail
        // quickly.
        if waiting.values().all(Option::is_some) {
            return Err(blocked(&watches, waiting));
        }
        let Some(Observation { source, what }) = observations.recv().await else { break };
        match what {
            What::Fact(fact) => facts.push(*fact),
            What::Synced => drop(waiting.remove(&source)),
            What::Failed(why) => {
                if let Some(waiting) = waiting.get_mut(&source) {
                    *waiting = Some(why);
                }
            }
        }
    }
    Ok(facts)
}

/// Groups the watches by cause: one cause often blocks all of them.
fn blocked(watches: &Watches, waiting: BTreeMap<usize, Option<String>>) -> SnapshotError {
    let mut causes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, why) in waiting {
        let source = watches.sources().get(number).map(ToString::to_string);
        causes.entry(why.unwrap_or_default()).or_default().extend(source);
    }
    let words = |(why, sources): (String, Vec<String>)| match sources.as_slice() {
        [first, second, _, ..] => format!("{first}, {second} and {} more: {why}", sources.len() - 2),
        sources => format!("{}: {why}", sources.join(", ")),
    };
    SnapshotError::Blocked(causes.into_iter().map(words).collect())
}
