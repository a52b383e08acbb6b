//! What a pod mounts: the keys of its `ConfigMap`s and Secrets, by mount path.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Client};
use std::collections::BTreeMap;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Files by the path where the first container mounts them. `None` while something of it does not exist: then a pod waits.
pub async fn fetch(
    client: &Client,
    namespace: &str,
    pod: &Pod,
) -> Result<Option<BTreeMap<String, Files>>, kube::Error> {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut mounted = BTreeMap::new();
    for mount in spec.containers[0].volume_mounts.iter().flatten() {
        let volume =
            spec.volumes.iter().flatten().find(|volume| volume.name == mount.name).expect("the volume is there");
        let files = if let Some(source) = &volume.config_map {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let Some(map) = api.get_opt(&source.name).await? else { return Ok(None) };
            let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            text.chain(bytes).collect()
        } else if let Some(source) = &volume.secret {
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let Some(secret) = api.get_opt(source.secret_name.as_deref().unwrap()).await? else { return Ok(None) };
            secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
        } else {
            Files::new()
        };
        mounted.insert(mount.mount_path.clone(), files);
    }
    Ok(Some(mounted))
}
