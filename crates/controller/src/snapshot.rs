//! A cluster at one moment: what a controller that starts now would do.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::diff::{FieldDifference, find_drift};
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;

use crate::convert::WatchUpdate;
use crate::kinds::generated_api_resource;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::object::{LiveObject, ObjectId, ObjectOrigin};
use crate::options::ControllerOptions;
use crate::reconcile::{Applier, DesiredObject, ObjectAction, hand_over_hint, obsolete_fields};
use crate::watch::{WatchInbox, WatchSet, WatchSetKind};

/// Maximum number of objects that are read at once.
const MAX_CONCURRENT_GETS: usize = 16;

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
pub struct ClusterSnapshot {
    client: Client,
    model: Model,
    live: BTreeMap<ObjectId, LiveObject>,
}

/// An object that differs from the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Kind of the object.
    pub kind: GeneratedKind,
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// What a controller would do with the object.
    pub action: DriftAction,
}

/// What a controller would do with an object.
#[derive(Clone, Debug, PartialEq)]
pub enum DriftAction {
    /// The object does not exist.
    Create,
    /// The object has other content.
    Change(Vec<FieldDifference>),
    /// The object is Emcee's, and no resource asks for it.
    Remove,
    /// Another client wrote the object with the desired content. Emcee becomes its manager.
    TakeOver,
    /// Nothing: the object exists and is not managed by Emcee.
    Relinquish,
    /// Nothing: another client wrote the object with Emcee's label and with other content, or, without
    /// differences, no resource asks for it. The text is what an administrator can do.
    Leave(Vec<FieldDifference>, String),
}

impl DriftAction {
    /// Reports whether an object that differs from the desired state is left alone.
    pub fn is_left_alone(&self) -> bool {
        matches!(self, Self::Relinquish | Self::Leave(..))
    }
}

impl ClusterSnapshot {
    /// Reads a cluster with the watches of a controller, until each has completed its list.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn capture(client: Client, options: &ControllerOptions) -> Result<Self, SnapshotError> {
        let inputs = read_watches(WatchSetKind::Inputs, &client, options);
        let generated = read_watches(WatchSetKind::Generated, &client, options);
        let (inputs, generated) = tokio::try_join!(inputs, generated)?;
        let model = Model::new(options);
        let mut snapshot = Self { client, model, live: BTreeMap::new() };
        snapshot.apply_updates(inputs.into_iter().chain(generated));
        Ok(snapshot)
    }

    fn apply_updates(&mut self, facts: impl Iterator<Item = WatchUpdate>) {
        let mut changes = Vec::new();
        for fact in facts {
            match fact {
                WatchUpdate::Input(change) => changes.push(change),
                WatchUpdate::Resource(resource) => changes.extend(self.model.record_resource(*resource)),
                WatchUpdate::ResourceGone(unit) => changes.extend(self.model.remove_resource(&unit)),
                WatchUpdate::Live(live) => drop(self.live.insert(live.id.clone(), *live)),
                WatchUpdate::LiveGone(id) => drop(self.live.remove(&id)),
                WatchUpdate::RootHash(hash) => {
                    self.model.update_settings(|settings| settings.root_hash = hash);
                }
                WatchUpdate::MeshTrust(trust) => self.model.update_trust_domains(trust),
                // A snapshot ends the watches after their first list.
                WatchUpdate::RelistStarted(_) | WatchUpdate::RelistDone(_) => {}
            }
        }
        self.model.apply_changes(changes);
    }

    /// Applies changes to the snapshot, not to the cluster.
    pub fn update(&mut self, changes: Vec<InputChange>) {
        self.model.apply_changes(changes);
    }

    /// Returns the translation of the inputs.
    pub fn translation(&self) -> &Translation {
        self.model.translation()
    }

    /// Returns the current status of a resource. For an exposition or a binding, conditions have no messages.
    pub fn status(&self, unit: &Unit) -> Option<Value> {
        self.model.resource(unit).map(|known| known.status.reduced_status())
    }

    /// Returns what a controller would do: in the order of applying, then what it would remove.
    ///
    /// # Errors
    /// It cannot be determined whether a name is taken.
    pub async fn find_drift(&self) -> Result<Vec<Drift>, SnapshotError> {
        let mut divergences = self.compare_objects();
        // Only objects that seem not to exist need a request.
        let created = divergences.iter().enumerate().filter(|(_, found)| found.action == DriftAction::Create);
        let looks =
            created.map(|(index, found)| async move { Ok((index, self.is_name_taken(found).await?)) });
        let taken: Vec<(usize, bool)> = stream::iter(looks.collect::<Vec<_>>())
            .buffer_unordered(MAX_CONCURRENT_GETS)
            .try_collect::<Vec<_>>()
            .await?;
        for (index, _) in taken.into_iter().filter(|(_, taken)| *taken) {
            divergences[index].action = DriftAction::Relinquish;
        }
        Ok(divergences)
    }

    /// Reports whether the object exists without Emcee's label. The watches do not return such objects.
    async fn is_name_taken(&self, found: &Drift) -> Result<bool, SnapshotError> {
        let (name, resource) = generated_api_resource(found.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &found.key.namespace, &resource);
        let existing = api.get_metadata_opt(&found.key.name).await;
        let existing =
            existing.map_err(|error| SnapshotError::Object(format!("{name} {}", found.key), error))?;
        Ok(existing.is_some())
    }

    fn compare_objects(&self) -> Vec<Drift> {
        let applier = Applier::compare_with(&self.model, self.live.values());
        let mut desired = BTreeSet::new();
        let mut found = Vec::new();
        for object in self.translation().objects() {
            let id = ObjectId { kind: object.kind(), key: ObjectKey::new(&object.namespace, &object.name) };
            let uid = applier.unit_of(&id).and_then(|unit| self.model.owner_uid(unit));
            let body = DesiredObject::from_object(&object, uid);
            let step = desired_action(applier.next_action(&id), self.live.get(&id), &body);
            found.extend(step.map(|step| new_drift(&id, step)));
            desired.insert(id);
        }
        let unwanted = self.live.iter().filter(|(id, _)| !desired.contains(id));
        found.extend(
            unwanted.filter_map(|(id, live)| {
                Some(new_drift(id, unwanted_action(applier.next_action(id), live)?))
            }),
        );
        found
    }
}

fn new_drift(id: &ObjectId, step: DriftAction) -> Drift {
    Drift { kind: id.kind, key: id.key.clone(), action: step }
}

/// Converts the next action for a desired object. The content decides only what is shown.
fn desired_action(
    next: Option<ObjectAction>,
    live: Option<&LiveObject>,
    desired: &DesiredObject,
) -> Option<DriftAction> {
    let differences = |live| content_differences(live, desired);
    match (next, live) {
        (Some(ObjectAction::TakeOver), _) => Some(DriftAction::TakeOver),
        (Some(_), None) => Some(DriftAction::Create),
        (Some(_), Some(live)) => Some(DriftAction::Change(differences(live))),
        (None, Some(live)) if live.origin() == ObjectOrigin::Foreign => Some(DriftAction::Relinquish),
        (None, Some(live)) if live.origin() == ObjectOrigin::Copy => {
            Some(DriftAction::Leave(differences(live), hand_over_hint(&live.id)))
        }
        (None, _) => None,
    }
}

/// Converts the next action for an object that no resource asks for. An object that is being deleted needs
/// nothing more.
fn unwanted_action(next: Option<ObjectAction>, live: &LiveObject) -> Option<DriftAction> {
    let is_copy = live.origin() == ObjectOrigin::Copy && !live.deleting;
    let left = || is_copy.then(|| DriftAction::Leave(Vec::new(), hand_over_hint(&live.id)));
    next.map(|_| DriftAction::Remove).or_else(left)
}

/// Returns the fields that a write would change: what differs from the desired content, and what Emcee applied
/// once and no longer wants.
fn content_differences(live: &LiveObject, desired: &DesiredObject) -> Vec<FieldDifference> {
    let exact = !live.id.kind.has_server_side_defaults();
    let mut found = find_drift(&live.body, &desired.manifest, exact);
    let applied = live.applied_fields.as_ref();
    let outdated = applied.map(|applied| obsolete_fields(applied, &live.body, &desired.manifest));
    found.extend(without_known_deviations(exact, outdated.unwrap_or_default()));
    found
}

/// Removes what is a deviation already: in Istio's kinds, content that is not desired.
fn without_known_deviations(
    exact: bool,
    outdated: Vec<FieldDifference>,
) -> impl Iterator<Item = FieldDifference> {
    outdated.into_iter().filter(move |it| !exact || it.field.starts_with("metadata."))
}

/// Returns everything that the watches of a set list.
pub(crate) async fn read_watches(
    set: WatchSetKind,
    client: &Client,
    options: &ControllerOptions,
) -> Result<Vec<WatchUpdate>, SnapshotError> {
    // Nothing exports the metrics of one command.
    let inbox = WatchInbox::new(set, &Metrics::unregistered(), |out| match set {
        WatchSetKind::Inputs => WatchSet::for_inputs(client, options, out),
        WatchSetKind::Generated => WatchSet::for_generated(client, options, out),
    });
    inbox.collect_until_synced().await.map_err(SnapshotError::Blocked)
}
