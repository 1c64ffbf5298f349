//! Removes what Emcee has created, without a controller.

mod plan;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use emcee_core::key::{ObjectKey, ObjectRef};
use emcee_core::uid::Uid;
use futures_util::{StreamExt as _, stream};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use crate::convert::{self, WatchUpdate};
use crate::kinds::{FINALIZER, UserKind, generated_api_resource, user_api_resource};
use crate::object::OwnerLabels;
use crate::options::ControllerOptions;
use crate::snapshot::{SnapshotError, read_watches};
use crate::watch::WatchSetKind;
use plan::{DeletionTarget, FinalizerHolder, UninstallPlan, UninstallResource};

/// Maximum number of objects that are deleted at once.
const MAX_CONCURRENT_DELETES: usize = 16;
/// Maximum number of attempts for an object that keeps changing.
const MAX_ATTEMPTS: usize = 5;
/// Time between two checks of objects that are being deleted.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What to remove from a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UninstallExtent {
    /// Everything that Emcee has created.
    All,
    /// What exists for one MeshFedConfig.
    Relationship(ObjectKey),
}

/// What Emcee has created in a cluster and will be removed.
pub struct Uninstall {
    client: Client,
    plan: UninstallPlan,
}

/// An object that stays, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The object that stays.
    pub object: ObjectRef,
    /// Why it still exists.
    pub reason: String,
}

/// A completed action of an uninstall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UninstallEvent {
    /// An object of Emcee's was deleted, or is being deleted.
    Removed(ObjectRef),
    /// Emcee's finalizer was removed from a user's resource.
    FinalizerRemoved(ObjectRef),
}

impl Uninstall {
    /// Determines what to remove. Writes nothing.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn prepare(
        client: Client,
        options: &ControllerOptions,
        extent: &UninstallExtent,
    ) -> Result<Self, SnapshotError> {
        let generated = read_watches(WatchSetKind::Generated, &client, options).await?;
        let objects = generated.into_iter().filter_map(|fact| match fact {
            WatchUpdate::Live(live) => Some(*live),
            _ => None,
        });
        let resources = list_resources(&client, options).await?;
        let plan = plan::build_plan(extent, objects.collect(), &resources);
        Ok(Self { client, plan })
    }

    /// Reports whether there is nothing to remove: neither objects nor finalizers.
    pub fn is_empty(&self) -> bool {
        self.plan.phases.is_empty() && self.plan.finalizer_holders.is_empty()
    }

    /// Returns the objects that will be removed, in this order.
    pub fn objects(&self) -> Vec<ObjectRef> {
        self.plan.phases.values().flatten().map(DeletionTarget::object_ref).collect()
    }

    /// Returns the user resources that will lose the finalizer.
    pub fn finalizer_holders(&self) -> Vec<ObjectRef> {
        self.plan.finalizer_holders.iter().map(FinalizerHolder::object_ref).collect()
    }

    /// Returns what looks like Emcee's and is not, or is shared with another relationship.
    pub fn kept_objects(&self) -> &[Orphan] {
        &self.plan.kept
    }

    /// Removes everything, in the reverse order of applying, and reports each action to `tell`. Returns what
    /// is left.
    pub async fn execute(&self, patience: Duration, tell: &mut dyn FnMut(UninstallEvent)) -> Vec<Orphan> {
        let end = Instant::now() + patience;
        let mut left = Vec::new();
        let mut owners = HashSet::new();
        let mut going = Vec::new();
        // A phase is complete when its deletions are accepted. Only the end waits until the objects are gone.
        for phase in self.plan.phases.values() {
            let deletions =
                phase.iter().map(|target| async move { (target, self.delete_object(target).await) });
            let mut deletions =
                stream::iter(deletions.collect::<Vec<_>>()).buffer_unordered(MAX_CONCURRENT_DELETES);
            while let Some((target, outcome)) = deletions.next().await {
                match outcome {
                    Ok(()) => {
                        tell(UninstallEvent::Removed(target.object_ref()));
                        going.push(target);
                    }
                    Err(why) => {
                        owners.insert(target.owner.clone());
                        left.push(Orphan { object: target.object_ref(), reason: why });
                    }
                }
            }
        }
        // An object with Emcee's own finalizer can only go after the finalizer was removed.
        let (bearing, others) = going.into_iter().partition(|target| self.plan.is_finalizer_holder(target));
        for target in self.wait_until_gone(others, end).await {
            owners.insert(target.owner.clone());
            left.push(blocked_object(target));
        }
        self.remove_finalizers(&owners, tell, &mut left).await;
        left.extend(self.wait_until_gone(bearing, end).await.into_iter().map(blocked_object));
        left
    }

    /// Deletes an object if it has not changed since it was judged. If it has changed, judges it again.
    async fn delete_object(&self, target: &DeletionTarget) -> Result<(), String> {
        let api = self.object_api(target);
        let mut version = target.version.clone();
        for _ in 0..MAX_ATTEMPTS {
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: Some(target.uid.to_string()),
                resource_version: Some(version.to_string()),
            });
            match api.delete(&target.id.key.name, &parameters).await {
                Ok(_) => return Ok(()),
                Err(error) if status_code(&error) == Some(404) => return Ok(()),
                Err(error) if status_code(&error) == Some(409) => {}
                Err(error) => return Err(error_message(&error)),
            }
            let now = api.get_opt(&target.id.key.name).await.map_err(|error| error_message(&error))?;
            let WatchUpdate::Live(now) = convert::live_update(target.id.kind, &target.id.key, now) else {
                return Ok(());
            };
            // Another client has created a new object of this name.
            if now.uid != target.uid {
                return Ok(());
            }
            if !plan::is_written_by_emcee(&now) {
                return Err("was taken over by a user in the meantime".into());
            }
            version = now.version;
        }
        Err("another client keeps changing it".into())
    }

    /// Waits until objects are gone. Returns those that still exist.
    async fn wait_until_gone<'t>(
        &self,
        mut going: Vec<&'t DeletionTarget>,
        end: Instant,
    ) -> Vec<&'t DeletionTarget> {
        loop {
            let looks =
                going.iter().map(|target| async { self.object_exists(target).await.then_some(*target) });
            let looks = stream::iter(looks.collect::<Vec<_>>()).buffered(MAX_CONCURRENT_DELETES);
            going = looks.filter_map(|target| async move { target }).collect().await;
            // At least one check, even without patience.
            if going.is_empty() || Instant::now() + POLL_INTERVAL > end {
                return going;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Reports whether the object exists, and not another of the same name. An error counts as yes.
    async fn object_exists(&self, target: &DeletionTarget) -> bool {
        match self.object_api(target).get_metadata_opt(&target.id.key.name).await {
            Ok(existing) => {
                existing.is_some_and(|existing| Uid::new(existing.metadata.uid.as_deref()) == target.uid)
            }
            Err(_) => true,
        }
    }

    /// Removes the finalizers. A resource with objects left keeps its finalizer: without it, nothing would
    /// ever remove them.
    async fn remove_finalizers(
        &self,
        owners: &HashSet<OwnerLabels>,
        tell: &mut dyn FnMut(UninstallEvent),
        left: &mut Vec<Orphan>,
    ) {
        for bearer in &self.plan.finalizer_holders {
            let outcome = if bearer.owner.as_ref().is_some_and(|owner| owners.contains(owner)) {
                Err("keeps its finalizer, because some of its objects are left".to_owned())
            } else {
                self.remove_finalizer(bearer).await
            };
            match outcome {
                Ok(()) => tell(UninstallEvent::FinalizerRemoved(bearer.object_ref())),
                Err(why) => left.push(Orphan { object: bearer.object_ref(), reason: why }),
            }
        }
    }

    /// Removes Emcee's finalizer and no other, independent of who set it.
    async fn remove_finalizer(&self, bearer: &FinalizerHolder) -> Result<(), String> {
        let (_, resource) = user_api_resource(bearer.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &bearer.key.namespace, &resource);
        for _ in 0..MAX_ATTEMPTS {
            let existing =
                api.get_metadata_opt(&bearer.key.name).await.map_err(|error| error_message(&error))?;
            let Some(metadata) = existing.map(|existing| existing.metadata) else { return Ok(()) };
            let mut finalizers = metadata.finalizers.unwrap_or_default();
            let count = finalizers.len();
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            if finalizers.len() == count {
                return Ok(());
            }
            // The version is a precondition: the list is replaced only if it is the one that was read.
            let patch = json!({"metadata": {
                "uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": finalizers,
            }});
            match api.patch(&bearer.key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return Ok(()),
                Err(error) if status_code(&error) == Some(404) => return Ok(()),
                Err(error) if status_code(&error) == Some(409) => {}
                Err(error) => return Err(error_message(&error)),
            }
        }
        Err("another client keeps changing it".into())
    }

    fn object_api(&self, target: &DeletionTarget) -> Api<DynamicObject> {
        let (_, resource) = generated_api_resource(target.id.kind);
        Api::namespaced_with(self.client.clone(), &target.id.key.namespace, &resource)
    }
}

fn blocked_object(target: &DeletionTarget) -> Orphan {
    let why = "is still being deleted: a finalizer of another controller blocks it".to_owned();
    Orphan { object: target.object_ref(), reason: why }
}

/// Lists all user resources.
async fn list_resources(
    client: &Client,
    options: &ControllerOptions,
) -> Result<Vec<UninstallResource>, SnapshotError> {
    let mut resources = Vec::new();
    for kind in UserKind::ALL {
        let (name, resource) = user_api_resource(kind);
        for namespace in options.scope.all_namespaces().watch_namespaces() {
            let api: Api<DynamicObject> = match &namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let listed = match api.list(&ListParams::default()).await {
                // The CRD is not installed.
                Err(error) if status_code(&error) == Some(404) => Vec::new(),
                listed => listed.map_err(|error| SnapshotError::Object(name.to_owned(), error))?.items,
            };
            resources.extend(listed.into_iter().map(|object| UninstallResource::from_object(kind, &object)));
        }
    }
    Ok(resources)
}

fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn error_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}
