//! How many pods there are, and how many may go away at once.

use super::metadata::Subject;
use crate::ir::infra::Scale;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A number of pods as Kubernetes has it.
pub(super) fn count(pods: u32) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

/// One pod at a time may be evicted, where there can be several. Pods that are not ready protect nobody, and do not stop a node
/// from being drained.
pub(super) fn disruption_budget(subject: &Subject<'_>, scale: Scale) -> Option<PodDisruptionBudget> {
    (scale.most() > 1).then(|| PodDisruptionBudget {
        metadata: subject.metadata(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(subject.selector()),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}

/// The autoscaler of a Deployment, by CPU.
pub(super) fn autoscaler(subject: &Subject<'_>, scale: Scale) -> Option<HorizontalPodAutoscaler> {
    let Scale::Auto { min, max, cpu_percent } = scale else { return None };
    let cpu = MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(count(cpu_percent)),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    };
    Some(HorizontalPodAutoscaler {
        metadata: subject.metadata(),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: subject.name.clone(),
            },
            min_replicas: Some(count(min)),
            max_replicas: count(max),
            metrics: Some(vec![cpu]),
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    })
}
