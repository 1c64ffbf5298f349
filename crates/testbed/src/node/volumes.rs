//! Creates the volumes of pods as folders.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection,
    Volume, VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep};

use super::{Node, variables};

/// Istio writes the `ConfigMap` with its root into a new namespace a moment after the first pod can exist.
const PATIENCE: Duration = Duration::from_secs(30);

/// Creates every volume of a pod below `folder`.
pub(super) async fn create_volumes(node: &Node, pod: &Pod, folder: &Path, address: &str) -> Result<()> {
    let maker = VolumeBuilder { node, pod, address };
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let target = folder.join(&volume.name);
        fs::create_dir_all(&target)?;
        // In a cluster, the container's user owns its volumes. Here, every user may write to them.
        fs::set_permissions(&target, Permissions::from_mode(0o777))?;
        maker.fill_volume(volume, &target).await.with_context(|| format!("volume {}", volume.name))?;
    }
    Ok(())
}

type VolumeFiles = Vec<(String, Vec<u8>)>;

struct VolumeBuilder<'a> {
    node: &'a Node,
    pod: &'a Pod,
    address: &'a str,
}

impl VolumeBuilder<'_> {
    async fn fill_volume(&self, volume: &Volume, target: &Path) -> Result<()> {
        if volume.host_path.is_some() || volume.persistent_volume_claim.is_some() {
            bail!("a bed does not support hostPath and persistent volumes; use emptyDir");
        }
        write_files(target, self.volume_files(volume).await?)
    }

    async fn volume_files(&self, volume: &Volume) -> Result<VolumeFiles> {
        if let Some(source) = &volume.secret {
            let name = source.secret_name.clone().unwrap_or_default();
            return self.secret_files(&name, source.items.as_deref(), source.optional).await;
        }
        if let Some(source) = &volume.config_map {
            return self.config_map_files(&source.name, source.items.as_deref(), source.optional).await;
        }
        if let Some(source) = &volume.downward_api {
            return Ok(self.downward_files(source.items.as_deref().unwrap_or_default()));
        }
        let mut all = VolumeFiles::new();
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            all.extend(self.projected_files(source).await?);
        }
        Ok(all)
    }

    async fn projected_files(&self, source: &VolumeProjection) -> Result<VolumeFiles> {
        if let Some(token) = &source.service_account_token {
            return self.token_files(token).await;
        }
        if let Some(map) = &source.config_map {
            return self.config_map_files(&map.name, map.items.as_deref(), map.optional).await;
        }
        if let Some(secret) = &source.secret {
            return self.secret_files(&secret.name, secret.items.as_deref(), secret.optional).await;
        }
        let downward = source.downward_api.as_ref().and_then(|source| source.items.as_deref());
        Ok(self.downward_files(downward.unwrap_or_default()))
    }

    fn namespaced_api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.node.client.clone(), &self.pod.namespace().unwrap_or_default())
    }

    async fn secret_files(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<VolumeFiles> {
        let secret = wait_for_object(&self.namespaced_api::<Secret>(), name, optional).await?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(select_items(data.into_iter().map(|(key, ByteString(bytes))| (key, bytes)), items))
    }

    async fn config_map_files(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<VolumeFiles> {
        let map = wait_for_object(&self.namespaced_api::<ConfigMap>(), name, optional).await?;
        let data = map.and_then(|map| map.data).unwrap_or_default();
        Ok(select_items(data.into_iter().map(|(key, text)| (key, text.into_bytes())), items))
    }

    async fn token_files(&self, projection: &ServiceAccountTokenProjection) -> Result<VolumeFiles> {
        let spec = TokenRequestSpec {
            audiences: projection.audience.clone().into_iter().collect(),
            // Tokens are not renewed, so this one must outlive the bed.
            expiration_seconds: Some(24 * 3600),
            bound_object_ref: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let account = variables::service_account(self.pod);
        let accounts = self.namespaced_api::<ServiceAccount>();
        let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
        let token = answer.status.context("the TokenRequest has no token")?.token;
        Ok(vec![(projection.path.clone(), token.into_bytes())])
    }

    fn downward_files(&self, items: &[DownwardAPIVolumeFile]) -> VolumeFiles {
        let text = |item: &DownwardAPIVolumeFile| {
            let path = item.field_ref.as_ref().map(|field| field.field_path.as_str());
            path.map(|path| variables::downward_field(self.node, self.pod, path, self.address))
                .unwrap_or_default()
        };
        items.iter().map(|item| (item.path.clone(), text(item).into_bytes())).collect()
    }
}

async fn wait_for_object<K>(api: &Api<K>, name: &str, optional: Option<bool>) -> Result<Option<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = api.get_opt(name).await?;
        if found.is_some() || optional == Some(true) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{} {name} does not exist after {} s", K::kind(&()), PATIENCE.as_secs());
        }
        // A kubelet also retries a mount that fails.
        sleep(Duration::from_millis(200)).await;
    }
}

fn select_items(data: impl Iterator<Item = (String, Vec<u8>)>, items: Option<&[KeyToPath]>) -> VolumeFiles {
    let Some(items) = items else { return data.collect() };
    let path = |key: &str| items.iter().find(|item| item.key == key).map(|item| item.path.clone());
    data.filter_map(|(key, bytes)| Some((path(&key)?, bytes))).collect()
}

fn write_files(folder: &Path, files: VolumeFiles) -> Result<()> {
    for (name, bytes) in files {
        let path: PathBuf = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
