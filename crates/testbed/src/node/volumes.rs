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
pub(super) async fn make(node: &Node, pod: &Pod, folder: &Path, address: &str) -> Result<()> {
    let maker = Maker { node, pod, address };
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let target = folder.join(&volume.name);
        fs::create_dir_all(&target)?;
        // In a cluster, the container's user owns its volumes. Here, every user may write to them.
        fs::set_permissions(&target, Permissions::from_mode(0o777))?;
        maker.fill(volume, &target).await.with_context(|| format!("volume {}", volume.name))?;
    }
    Ok(())
}

type Files = Vec<(String, Vec<u8>)>;

struct Maker<'a> {
    node: &'a Node,
    pod: &'a Pod,
    address: &'a str,
}

impl Maker<'_> {
    async fn fill(&self, volume: &Volume, target: &Path) -> Result<()> {
        if volume.host_path.is_some() || volume.persistent_volume_claim.is_some() {
            bail!("a bed does not support hostPath and persistent volumes; use emptyDir");
        }
        write(target, self.files(volume).await?)
    }

    async fn files(&self, volume: &Volume) -> Result<Files> {
        if let Some(source) = &volume.secret {
            let name = source.secret_name.clone().unwrap_or_default();
            return self.secret(&name, source.items.as_deref(), source.optional).await;
        }
        if let Some(source) = &volume.config_map {
            return self.config_map(&source.name, source.items.as_deref(), source.optional).await;
        }
        if let Some(source) = &volume.downward_api {
            return Ok(self.downward(source.items.as_deref().unwrap_or_default()));
        }
        let mut all = Files::new();
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            all.extend(self.projection(source).await?);
        }
        Ok(all)
    }

    async fn projection(&self, source: &VolumeProjection) -> Result<Files> {
        if let Some(token) = &source.service_account_token {
            return self.token(token).await;
        }
        if let Some(map) = &source.config_map {
            return self.config_map(&map.name, map.items.as_deref(), map.optional).await;
        }
        if let Some(secret) = &source.secret {
            return self.secret(&secret.name, secret.items.as_deref(), secret.optional).await;
        }
        let downward = source.downward_api.as_ref().and_then(|source| source.items.as_deref());
        Ok(self.downward(downward.unwrap_or_default()))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.node.client.clone(), &self.pod.namespace().unwrap_or_default())
    }

    async fn secret(&self, name: &str, items: Option<&[KeyToPath]>, optional: Option<bool>) -> Result<Files> {
        let secret = wait_for(&self.api::<Secret>(), name, optional).await?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(select(data.into_iter().map(|(key, ByteString(bytes))| (key, bytes)), items))
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<Files> {
        let map = wait_for(&self.api::<ConfigMap>(), name, optional).await?;
        let data = map.and_then(|map| map.data).unwrap_or_default();
        Ok(select(data.into_iter().map(|(key, text)| (key, text.into_bytes())), items))
    }

    async fn token(&self, wanted: &ServiceAccountTokenProjection) -> Result<Files> {
        let spec = TokenRequestSpec {
            audiences: wanted.audience.clone().into_iter().collect(),
            // Tokens are not renewed, so this one must outlive the bed.
            expiration_seconds: Some(24 * 3600),
            bound_object_ref: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let account = variables::service_account(self.pod);
        let accounts = self.api::<ServiceAccount>();
        let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
        let token = answer.status.context("the TokenRequest has no token")?.token;
        Ok(vec![(wanted.path.clone(), token.into_bytes())])
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile]) -> Files {
        let text = |item: &DownwardAPIVolumeFile| {
            let path = item.field_ref.as_ref().map(|field| field.field_path.as_str());
            path.map(|path| variables::field(self.node, self.pod, path, self.address)).unwrap_or_default()
        };
        items.iter().map(|item| (item.path.clone(), text(item).into_bytes())).collect()
    }
}

async fn wait_for<K>(api: &Api<K>, name: &str, optional: Option<bool>) -> Result<Option<K>>
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

fn select(data: impl Iterator<Item = (String, Vec<u8>)>, items: Option<&[KeyToPath]>) -> Files {
    let Some(items) = items else { return data.collect() };
    let path = |key: &str| items.iter().find(|item| item.key == key).map(|item| item.path.clone());
    data.filter_map(|(key, bytes)| Some((path(&key)?, bytes))).collect()
}

fn write(folder: &Path, files: Files) -> Result<()> {
    for (name, bytes) in files {
        let path: PathBuf = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
