//! Taking away what Emcee has made, for when no controller will do it.

mod plan;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use emcee_core::key::{Key, ObjectRef};
use emcee_core::uid::Uid;
use futures_util::{StreamExt as _, stream};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use crate::FINALIZER;
use crate::observe::fact::{Fact, OwnerLabels};
use crate::observe::{Watches, generated_kind, user_kind};
use crate::options::Options;
use crate::parse::{self, UserKind};
use crate::snapshot::{SnapshotError, settled};
use plan::{Bearer, Plan, Resource, Target};

/// How many objects are removed at once.
const AT_ONCE: usize = 16;
/// How often an object that keeps changing is looked at again.
const ATTEMPTS: usize = 5;
/// Between two looks at objects that are on their way out.
const LOOK: Duration = Duration::from_millis(250);

/// What is to be taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    All,
    /// What is there for one MeshFedConfig.
    Relationship(Key),
}

/// What Emcee has made in a cluster, and is to be taken away.
pub struct Uninstall {
    client: Client,
    plan: Plan,
}

/// Something that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remnant {
    /// What.
    pub object: ObjectRef,
    /// Why it is still there.
    pub why: String,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// An object of Emcee's is gone, or on its way out.
    Removed(ObjectRef),
    /// A user's resource has Emcee's finalizer no more.
    Released(ObjectRef),
}

impl Uninstall {
    /// Looks for what there is to take away. Nothing is written.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn look(client: Client, options: &Options, extent: &Extent) -> Result<Self, SnapshotError> {
        let generated = settled(|out| Watches::of_generated(&client, options, out)).await?;
        let objects = generated.into_iter().filter_map(|fact| match fact {
            Fact::Live(live) => Some(*live),
            _ => None,
        });
        let resources = resources(&client, options).await?;
        let plan = plan::plan(extent, objects.collect(), &resources);
        Ok(Self { client, plan })
    }

    /// Whether the relationship, or anything of Emcee's, is there at all.
    pub fn is_empty(&self) -> bool {
        self.plan.phases.is_empty() && self.plan.bearers.is_empty()
    }

    /// The objects that are to go, in this order.
    pub fn objects(&self) -> Vec<ObjectRef> {
        self.plan.phases.values().flatten().map(Target::name).collect()
    }

    /// The users' resources whose finalizer is to go.
    pub fn bearers(&self) -> Vec<ObjectRef> {
        self.plan.bearers.iter().map(Bearer::name).collect()
    }

    /// What looks like Emcee's, and is not, or not only this relationship's.
    pub fn kept(&self) -> &[Remnant] {
        &self.plan.kept
    }

    /// Takes it away, in the reverse order of applying; tells of each as it is done. Returns what is left.
    pub async fn carry_out(&self, patience: Duration, tell: &mut dyn FnMut(Done)) -> Vec<Remnant> {
        let end = Instant::now() + patience;
        let mut left = Vec::new();
        let mut owners = HashSet::new();
        let mut going = Vec::new();
        for phase in self.plan.phases.values() {
            let deletions = phase.iter().map(|target| async move { (target, self.delete(target).await) });
            let mut deletions = stream::iter(deletions.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
            while let Some((target, outcome)) = deletions.next().await {
                match outcome {
                    Ok(()) => {
                        tell(Done::Removed(target.name()));
                        going.push(target);
                    }
                    Err(why) => {
                        owners.insert(target.owner.clone());
                        left.push(Remnant { object: target.name(), why });
                    }
                }
            }
        }
        // What has Emcee's own finalizer can only go once that is taken off.
        let (bearing, others) = going.into_iter().partition(|target| self.plan.is_borne(target));
        for target in self.wait(others, end).await {
            owners.insert(target.owner.clone());
            left.push(kept(target));
        }
        self.release_all(&owners, tell, &mut left).await;
        left.extend(self.wait(bearing, end).await.into_iter().map(kept));
        left
    }

    /// Deletes an object that is still as it was judged to be; one that has changed since is judged again.
    async fn delete(&self, target: &Target) -> Result<(), String> {
        let api = self.generated(target);
        let mut version = target.version.clone();
        for _ in 0..ATTEMPTS {
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: Some(target.uid.to_string()),
                resource_version: Some(version.to_string()),
            });
            match api.delete(&target.id.key.name, &parameters).await {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == Some(404) => return Ok(()),
                Err(error) if code(&error) == Some(409) => {}
                Err(error) => return Err(words(&error)),
            }
            let now = api.get_opt(&target.id.key.name).await.map_err(|error| words(&error))?;
            let Fact::Live(now) = parse::live(target.id.kind, &target.id.key, now) else { return Ok(()) };
            if now.uid != target.uid {
                return Ok(());
            }
            if !plan::is_ours(&now) {
                return Err("somebody has made it theirs meanwhile".into());
            }
            version = now.version;
        }
        Err("others keep changing it".into())
    }

    /// Waits until objects are gone. Returns those that are not.
    async fn wait<'t>(&self, mut going: Vec<&'t Target>, end: Instant) -> Vec<&'t Target> {
        loop {
            let looks = going.iter().map(|target| async { self.is_there(target).await.then_some(*target) });
            let looks = stream::iter(looks.collect::<Vec<_>>()).buffered(AT_ONCE);
            going = looks.filter_map(|target| async move { target }).collect().await;
            if going.is_empty() || Instant::now() + LOOK > end {
                return going;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the object, and not another of its name, is there, as far as can be told.
    async fn is_there(&self, target: &Target) -> bool {
        match self.generated(target).get_metadata_opt(&target.id.key.name).await {
            Ok(there) => there.is_some_and(|there| Uid::new(there.metadata.uid.as_deref()) == target.uid),
            Err(_) => true,
        }
    }

    /// Without its finalizer, nothing would ever take away what is left of a resource: then it stays.
    async fn release_all(
        &self,
        owners: &HashSet<OwnerLabels>,
        tell: &mut dyn FnMut(Done),
        left: &mut Vec<Remnant>,
    ) {
        for bearer in &self.plan.bearers {
            let outcome = if bearer.owner.as_ref().is_some_and(|owner| owners.contains(owner)) {
                Err("keeps its finalizer, as objects of it are left".to_owned())
            } else {
                self.release(bearer).await
            };
            match outcome {
                Ok(()) => tell(Done::Released(bearer.name())),
                Err(why) => left.push(Remnant { object: bearer.name(), why }),
            }
        }
    }

    /// Takes the finalizer away, and no other, whoever put it there.
    async fn release(&self, bearer: &Bearer) -> Result<(), String> {
        let (_, resource) = user_kind(bearer.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &bearer.key.namespace, &resource);
        for _ in 0..ATTEMPTS {
            let there = api.get_metadata_opt(&bearer.key.name).await.map_err(|error| words(&error))?;
            let Some(metadata) = there.map(|there| there.metadata) else { return Ok(()) };
            let mut finalizers = metadata.finalizers.unwrap_or_default();
            let count = finalizers.len();
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            if finalizers.len() == count {
                return Ok(());
            }
            // With the version, the list is replaced only while it is the one that was read.
            let patch = json!({"metadata": {
                "uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": finalizers,
            }});
            match api.patch(&bearer.key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == Some(404) => return Ok(()),
                Err(error) if code(&error) == Some(409) => {}
                Err(error) => return Err(words(&error)),
            }
        }
        Err("others keep changing it".into())
    }

    fn generated(&self, target: &Target) -> Api<DynamicObject> {
        let (_, resource) = generated_kind(target.id.kind);
        Api::namespaced_with(self.client.clone(), &target.id.key.namespace, &resource)
    }
}

fn kept(target: &Target) -> Remnant {
    let why = "is still being deleted: something else's finalizer keeps it".to_owned();
    Remnant { object: target.name(), why }
}

/// All of the users' resources.
async fn resources(client: &Client, options: &Options) -> Result<Vec<Resource>, SnapshotError> {
    let mut resources = Vec::new();
    for kind in UserKind::ALL {
        let (name, resource) = user_kind(kind);
        for namespace in options.scope.everywhere().watches() {
            let api: Api<DynamicObject> = match &namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let listed = match api.list(&ListParams::default()).await {
                Err(error) if code(&error) == Some(404) => Vec::new(),
                listed => listed.map_err(|error| SnapshotError::Object(name.to_owned(), error))?.items,
            };
            resources.extend(listed.into_iter().map(|object| Resource::of(kind, &object)));
        }
    }
    Ok(resources)
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}
