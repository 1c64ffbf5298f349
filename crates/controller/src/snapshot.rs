//! A cluster as it is at one moment: what a controller that started now would do.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::diff::{Difference, deviations};
use emcee_core::inputs::Change;
use emcee_core::key::Key;
use emcee_core::plan::{Kind, Object};
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

/// How many objects are looked at at once.
const AT_ONCE: usize = 16;

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Some watches do not get through, a line each.
    #[error("the cluster cannot be read: {}", .0.join("; "))]
    Blocked(Vec<String>),
    /// A kind, or one object, cannot be read.
    #[error("{0} cannot be read")]
    Object(String, #[source] kube::Error),
}

/// A cluster as it is at one moment.
pub struct Snapshot {
    client: Client,
    model: Model,
    live: BTreeMap<ObjectId, Live>,
}

/// An object that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// What a controller would do about it.
    pub step: Step,
}

/// What a controller would do about an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is not there.
    Create,
    /// It is there, and says something else.
    Change(Vec<Difference>),
    /// It is Emcee's, and nothing asks for it.
    Remove,
    /// It is as it should be, and somebody else wrote it: it becomes Emcee's.
    TakeOver,
    /// Nothing, as the object of that name is somebody else's.
    Yield,
    /// Nothing, as somebody else wrote it with Emcee's label, and it says something else than it should; or, without
    /// differences, nothing asks for it. With what an administrator does about it.
    Leave(Vec<Difference>, String),
}

impl Step {
    /// Whether an object is left as it is that is not as it should be.
    pub fn is_left(&self) -> bool {
        matches!(self, Self::Yield | Self::Leave(..))
    }
}

impl Snapshot {
    /// Looks at a cluster: by the watches of a controller, until each has said all there is.
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
                // Only a watch lists again.
                Fact::Listing(_) | Fact::Listed(_) => {}
            }
        }
        self.model.update(changes);
    }

    /// As if these were applied.
    pub fn update(&mut self, changes: Vec<Change>) {
        self.model.update(changes);
    }

    /// What is asked for.
    pub fn translation(&self) -> &Translation {
        self.model.translation()
    }

    /// The status that a resource has; of an exposition or a binding, its conditions without their words.
    pub fn status(&self, unit: &Unit) -> Option<Value> {
        self.model.resource(unit).map(|known| known.said.kept())
    }

    /// What a controller would do: in the order of applying, and then what it would remove.
    ///
    /// # Errors
    /// Whether a name is taken cannot be found out.
    pub async fn divergences(&self) -> Result<Vec<Divergence>, SnapshotError> {
        let mut divergences = self.compare();
        let created = divergences.iter().enumerate().filter(|(_, found)| found.step == Step::Create);
        let looks = created.map(|(index, found)| async move { Ok((index, self.is_taken(found).await?)) });
        let taken: Vec<(usize, bool)> =
            stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        for (index, _) in taken.into_iter().filter(|(_, taken)| *taken) {
            divergences[index].step = Step::Yield;
        }
        Ok(divergences)
    }

    /// Whether there is an object without Emcee's label, which no watch says.
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
            let id = ObjectId { kind: object.kind(), key: Key::new(&object.namespace, &object.name) };
            let uid = owners.get(&id).and_then(|unit| self.model.owner_uid(unit));
            let body = Body::of(&object, uid);
            found.extend(step(self.live.get(&id), &body).map(|step| divergence(&id, step)));
            wanted.insert(id);
        }
        let unwanted = self.live.iter().filter(|(id, live)| !wanted.contains(id) && !live.deleting);
        found.extend(unwanted.filter_map(|(id, live)| Some(divergence(id, farewell(live)?))));
        found
    }

    /// Which unit each object is of.
    fn owners(&self) -> BTreeMap<ObjectId, &Unit> {
        let translation = self.translation();
        let of = |object: &Object| ObjectId {
            kind: object.kind(),
            key: Key::new(&object.namespace, &object.name),
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

/// As for the desk of a controller: see `apply`.
fn step(live: Option<&Live>, wanted: &Body) -> Option<Step> {
    let Some(live) = live else { return Some(Step::Create) };
    let kind = live.id.kind;
    let exact = kind.group().ends_with(".istio.io");
    let deviations = || deviations(&live.body, &wanted.value, exact);
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

/// What nothing asks for.
fn farewell(live: &Live) -> Option<Step> {
    match live.origin() {
        Origin::Emcee => Some(Step::Remove),
        Origin::Copy => Some(Step::Leave(Vec::new(), hand_over(&live.id))),
        Origin::Other => None,
    }
}

/// Of Istio's kinds, content that is not wanted is a deviation already.
fn unless_exact(exact: bool, outdated: Vec<Difference>) -> impl Iterator<Item = Difference> {
    outdated.into_iter().filter(move |it| !exact || it.field.starts_with("metadata."))
}

/// All that watches say until each has said all there is.
pub(crate) async fn settled(
    watch: impl FnOnce(&mpsc::Sender<Observation>) -> Watches,
) -> Result<Vec<Fact>, SnapshotError> {
    let (sender, mut observations) = mpsc::channel(1024);
    let watches = watch(&sender);
    let mut waiting: BTreeMap<usize, Option<String>> =
        (0..watches.sources().len()).map(|number| (number, None)).collect();
    let mut facts = Vec::new();
    while !waiting.is_empty() {
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

/// One cause often blocks all.
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
