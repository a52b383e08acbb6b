//! A new version of the operator brings a new image, and so new pods to every gateway that names none: a few gateways at a time.

use crate::ir::ids::ObjectId;
use k8s_openapi::api::apps::v1::Deployment;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Gateways whose pods are replaced at a time: what goes wrong with a new image shows at these first.
const AT_A_TIME: usize = 5;

/// How long a gateway may keep others waiting: as long as Kubernetes waits before it says that a rollout does not go on.
const GIVE_UP: Duration = Duration::from_secs(600);

/// How soon to look again whether others are done.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The gateways whose pods are being replaced by a new version.
#[derive(Default)]
pub(super) struct Rollouts(Mutex<HashMap<ObjectId, Instant>>);

impl Rollouts {
    /// Whether this gateway's pods may be replaced now. `is_over` says of others whether theirs have been.
    pub(super) fn admits(&self, gateway: &ObjectId, is_over: impl Fn(&ObjectId) -> bool) -> bool {
        let mut rolling = self.0.lock();
        rolling.retain(|id, since| id == gateway || (since.elapsed() < GIVE_UP && !is_over(id)));
        if rolling.contains_key(gateway) {
            return true;
        }
        let has_room = rolling.len() < AT_A_TIME;
        if has_room {
            rolling.insert(gateway.clone(), Instant::now());
        }
        has_room
    }
}

/// The image of the pods' first container.
pub(super) fn image(deployment: &Deployment) -> Option<&str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.as_deref()
}

/// Whether all pods are of this image, and ready.
pub(super) fn is_rolled_out(deployment: &Deployment, wanted: &str) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    image(deployment) == Some(wanted)
        && status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) >= replicas
        // Old pods are among those that are available, until they are gone.
        && status.replicas.unwrap_or(0) <= status.updated_replicas.unwrap_or(0)
        && status.available_replicas.unwrap_or(0) >= replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn a_few_at_a_time_and_none_waits_for_ever() {
        let rollouts = Rollouts::default();
        let id = |number: usize| ObjectId::new("team", format!("g{number}"));
        let none = |_: &ObjectId| false;
        assert!((0..AT_A_TIME).all(|number| rollouts.admits(&id(number), none)));
        assert!(!rollouts.admits(&id(9), none));
        assert!(rollouts.admits(&id(0), none), "it is on its way");
        assert!(rollouts.admits(&id(9), |other| *other == id(1)), "one is done");
        assert!(!rollouts.admits(&id(8), none));
        tokio::time::advance(GIVE_UP).await;
        assert!(rollouts.admits(&id(8), none));
    }

    #[test]
    fn a_rollout_is_over_when_all_pods_are_new_and_ready() {
        let with = |all: i32, updated: i32, available: i32, observed: i64| -> Deployment {
            let template = json!({"spec": {"containers": [{"name": "gateway", "image": "new"}]}});
            serde_json::from_value(json!({
                "metadata": {"generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": template},
                "status": {
                    "observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available,
                },
            }))
            .unwrap()
        };
        assert!(is_rolled_out(&with(2, 2, 2, 2), "new"));
        for other in [with(3, 2, 2, 2), with(2, 1, 2, 2), with(2, 2, 1, 2), with(2, 2, 2, 1)] {
            assert!(!is_rolled_out(&other, "new"));
        }
        assert!(!is_rolled_out(&with(2, 2, 2, 2), "newer"));
    }
}
