//! Two meshes with both systems: Emcees with a relationship of each style, and everything that multi-primary needs but
//! the remote secrets.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::users::{self, APPS, CALLER, NETWORKED_CALLER, REMOTE_NETWORK};
use super::{PeersBenchOptions, PeersStyle, PeersSystem, Topology};
use crate::bench::bench_cluster::create_objects;
use crate::bench::resources::{BenchObject, SYSTEM};
use crate::bench::statuses::Statuses;
use crate::bench::uids::UidRegistry;
use crate::cluster::Authority;
use crate::progress::print_progress;
use crate::suite::EMCEE_IMAGE;
use crate::{Bed, Mesh, Options};

/// Time limit for steps that do not depend on the number of services.
const PATIENCE: Duration = Duration::from_mins(3);
/// Additional time for each service.
const PATIENCE_EACH: Duration = Duration::from_millis(500);
const EMCEE: &str = "mm.ibm.istio.io";

/// The bed.
pub(super) struct PeersBed {
    /// The mesh with the callers.
    pub(super) here: Mesh,
    /// The mesh with the services.
    pub(super) there: Mesh,
    /// The program that pods of the callers run.
    program: PathBuf,
    /// The styles, and where their discovery listens in the mesh with the services.
    relationships: Vec<(PeersStyle, String)>,
    /// Declared last, so that it is dropped last.
    _bed: Bed,
}

impl PeersBed {
    /// Starts the bed, with an Emcee in each mesh and the relationships of these styles.
    pub(super) fn start(options: &PeersBenchOptions) -> Result<Self> {
        let mut bed_options = Options::new(&options.program, &["m1", "m2"]).with_multi_primary();
        bed_options.audit = true;
        bed_options.images.insert(EMCEE_IMAGE.to_owned(), vec![options.emcee.display().to_string()]);
        let bed = Bed::up(&bed_options)?;
        let mut made = Self {
            relationships: Vec::new(),
            here: bed.mesh("m1")?.clone(),
            there: bed.mesh("m2")?.clone(),
            program: options.program.clone(),
            _bed: bed,
        };
        made.deploy_workloads()?;
        made.install_emcees(&options.emcee, &options.styles)?;
        if options.styles.iter().any(|style| style.yardstick() == Topology::EastWest) {
            made.there.start_east_west_gateway(REMOTE_NETWORK)?;
        }
        made.link_meshes(&options.styles)?;
        Ok(made)
    }

    fn deploy_workloads(&self) -> Result<()> {
        let server = users::server("server");
        let local = users::server("local");
        apply_all(&self.there, users::workload_namespace().iter().chain(&server))?;
        let callers = users::callers();
        let here = users::workload_namespace();
        apply_all(&self.here, here.iter().chain(&callers).chain(&local).chain([&users::local_service()]))?;
        self.there.wait_rolled_out(APPS, "server")?;
        ["local", CALLER, NETWORKED_CALLER].iter().try_for_each(|name| self.here.wait_rolled_out(APPS, name))
    }

    fn install_emcees(&self, emcee: &Path, styles: &[PeersStyle]) -> Result<()> {
        let feds: Vec<String> = styles.iter().map(|style| style.fed_namespace()).collect();
        let manifests = emcee_manifests(emcee, &feds.join(","))?;
        for mesh in [&self.here, &self.there] {
            apply_all(mesh, &feds.iter().map(|fed| users::namespace(fed)).collect::<Vec<_>>())?;
            mesh.apply(&manifests)?;
        }
        [&self.here, &self.there].iter().try_for_each(|mesh| mesh.wait_rolled_out(SYSTEM, "emcee"))
    }

    fn link_meshes(&mut self, styles: &[PeersStyle]) -> Result<()> {
        for style in styles {
            let authority = Authority::root(&style.name())?;
            for mesh in [&self.here, &self.there] {
                apply_credential(mesh, *style, &authority)?;
            }
            self.there.apply(&users::exposing_relationship(*style).to_string())?;
        }
        for style in styles {
            self.relationships.push((*style, format!("{}:15443", self.discovery_address(*style)?)));
        }
        self.import_through(None)?;
        [&self.here, &self.there]
            .iter()
            .try_for_each(|mesh| wait_programmed(mesh, "MeshFedConfig", styles.len()))
    }

    /// Lets one relationship import, and no other: while several import into a namespace, the name of a withdrawn import
    /// stays reserved.
    fn import_through(&self, style: Option<PeersStyle>) -> Result<()> {
        let networks = self.there.plan().range();
        let relationships = self
            .relationships
            .iter()
            .map(|(one, at)| users::consuming_relationship(*one, at, &networks, style == Some(*one)));
        apply_all(&self.here, &relationships.collect::<Vec<_>>())
    }

    fn discovery_address(&self, style: PeersStyle) -> Result<String> {
        if !style.has_ingress_gateway() {
            return self.there.wait_address(SYSTEM, "emcee-discovery");
        }
        wait_programmed(&self.there, "MeshFedConfig", 1)?;
        self.there.wait_address(&style.fed_namespace(), &gateway_name(&self.there, style, "ingress")?)
    }

    /// Makes this the system that connects the two clusters, without services.
    pub(super) fn enter(&self, system: PeersSystem) -> Result<()> {
        self.remove_services()?;
        match system {
            PeersSystem::Emcee(style) => {
                self.import_through(Some(style))?;
                self.there.set_network("")?;
                self.here.remove_remote_cluster(&self.there)?;
                self.there.remove_remote_cluster(&self.here)
            }
            PeersSystem::MultiPrimary(topology) => {
                self.there.set_network(if topology == Topology::Flat { "" } else { REMOTE_NETWORK })?;
                self.here.add_remote_cluster(&self.there)?;
                self.there.add_remote_cluster(&self.here)
            }
        }
    }

    /// Creates the services with these numbers. They exist for callers when this returns, except for what istiod has not
    /// pushed yet.
    pub(super) fn create_services(&self, system: PeersSystem, range: std::ops::Range<usize>) -> Result<()> {
        let count = range.end;
        let mut objects: Vec<_> = range.clone().map(users::service).collect();
        if let PeersSystem::Emcee(style) = system {
            objects.extend(range.map(|index| users::exposition(index, style)));
        }
        self.create_objects_there(objects)?;
        match system {
            PeersSystem::Emcee(_) => wait_programmed(&self.here, "ServiceBinding", count),
            PeersSystem::MultiPrimary(_) => Ok(()),
        }
    }

    /// Creates objects in the mesh with the services.
    pub(super) fn create_objects_there(&self, objects: Vec<BenchObject>) -> Result<()> {
        let client = self.there.client();
        self.there.run(async move { create_objects(&client, objects, &UidRegistry::default()).await })
    }

    /// The program that pods of the callers run.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Removes all services, and waits until the other mesh has no binding.
    pub(super) fn remove_services(&self) -> Result<()> {
        let client = self.there.client();
        self.there.run(async move {
            delete_all(dynamic_api(&client, EMCEE, "ServiceExposition")).await?;
            delete_all(dynamic_api(&client, "", "Service")).await
        })?;
        let client = self.here.client();
        self.here.run(async move {
            let bindings = dynamic_api(&client, EMCEE, "ServiceBinding");
            wait_until_empty(&bindings, &ListParams::default()).await
        })
    }

    /// The caller whose sidecar is measured, as `namespace/pod`.
    pub(super) fn caller(system: PeersSystem) -> &'static str {
        match system {
            PeersSystem::MultiPrimary(Topology::EastWest) => NETWORKED_CALLER,
            _ => CALLER,
        }
    }
}

fn apply_all<'a>(mesh: &Mesh, objects: impl IntoIterator<Item = &'a Value>) -> Result<()> {
    objects.into_iter().try_for_each(|object| mesh.apply(&object.to_string()))
}

/// What `emcee manifests all` prints.
fn emcee_manifests(emcee: &Path, feds: &str) -> Result<String> {
    let mut command = std::process::Command::new(emcee);
    command.args(["manifests", "all", "--image", EMCEE_IMAGE, "--replicas", "1", "--webhook", "off"]);
    command.args(["--fed-namespaces", feds, "--discovery-service-type", "LoadBalancer"]);
    let done = command.output().with_context(|| format!("cannot start {}", emcee.display()))?;
    ensure!(done.status.success(), "emcee manifests: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(String::from_utf8(done.stdout)?)
}

fn apply_credential(mesh: &Mesh, style: PeersStyle, authority: &Authority) -> Result<()> {
    let own = authority.issue(mesh.name(), None, &[&users::certificate_name(mesh.name(), style)], &[])?;
    let ca = authority.identity().certificate;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "name": "relationship", "namespace": style.fed_namespace(), "labels": {"relationship": style.name()},
        },
        "stringData": {"tls.crt": own.certificate, "tls.key": own.key, "ca.crt": ca},
    });
    mesh.apply(&secret.to_string())
}

/// Name of the gateway that Emcee created for a relationship.
pub(super) fn gateway_name(mesh: &Mesh, style: PeersStyle, side: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let api = Api::<Service>::namespaced(mesh.client(), &style.fed_namespace());
        let all = mesh.run(async move { Ok(api.list(&ListParams::default()).await?.items) })?;
        let mut names = all.into_iter().filter_map(|service| service.metadata.name);
        match names.find(|name| name.ends_with(side)) {
            Some(name) => return Ok(name),
            None => ensure!(Instant::now() < deadline, "{} has no {side} in {}", mesh.name(), style.as_str()),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until that many resources of a kind are programmed.
pub(super) fn wait_programmed(mesh: &Mesh, kind: &'static str, count: usize) -> Result<()> {
    let client = mesh.client();
    let patience = PATIENCE + PATIENCE_EACH * u32::try_from(count)?;
    let what = format!("{kind} in {}", mesh.name());
    mesh.run(async move {
        Statuses::watch_kinds(&client, &[kind]).wait_for_count(count, patience).await.context(what)
    })
}

fn dynamic_api(client: &Client, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(client.clone(), APPS, &resource)
}

/// Deletes the benchmark's objects of a kind, and waits until they are gone.
async fn delete_all(api: Api<DynamicObject>) -> Result<()> {
    let chosen = ListParams::default().labels("bench=peers");
    api.delete_collection(&DeleteParams::default(), &chosen).await?;
    wait_until_empty(&api, &chosen).await
}

async fn wait_until_empty(api: &Api<DynamicObject>, chosen: &ListParams) -> Result<()> {
    let deadline = Instant::now() + PATIENCE * 3;
    loop {
        let left = api.list_metadata(chosen).await?.items.len();
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{left} objects are left at {}", api.resource_url());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Reports what is being measured.
pub(super) fn announce_step(what: impl std::fmt::Display) {
    print_progress(format_args!("{what}"));
}
