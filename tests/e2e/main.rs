//! The product on a whole cluster (`make e2e`): the chart is installed, manifests are applied, the kubelet runs the pods, and clients
//! connect through Services. Any cluster of `KUBECONFIG` does whose Service and pod addresses this machine reaches and that
//! has the images; `scripts/e2e.sh` brings one up where there is none.
//!
//! `first` and `last` are about installing and uninstalling, and about the operator as a whole: `scripts/e2e.sh` runs them alone, before and
//! after all others. The others share the installed operator, each in namespaces of its own.

// Tests say what they expect by failing.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]
// Specs are written where they are used.
#![allow(clippy::needless_pass_by_value)]

mod broken;
mod changes;
mod chart;
mod children;
mod cluster;
mod exposure;
mod first;
mod last;
mod reload;
mod samples;
mod servers;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tenants;
mod traces;
