//! The chart as Helm renders it (`make chart`): what comes of its values, and that it is what clusters take.
//!
//! | file | what it holds on to |
//! |---|---|
//! | `rendered` | golden pairs: `cases/<case>/values.yaml` and `out.yaml`; `deploy/install.yaml` is the one without values |
//! | `values` | wrong values are refused by name, and none is without effect |
//! | `strict` | every object has the fields of its kind and no others |
//! | `rights` | roles: no more than is needed, and nothing of the cluster in namespace mode |
//! | `pods` | what the pods may do, and that the programs in them take their arguments |
//! | `paths` | who may connect to whom |
//! | `monitoring` | alerts and dashboards ask for what is counted |
//!
//! `UPDATE_GOLDEN=1` rewrites what is generated.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

mod helm;
mod monitoring;
mod paths;
mod pods;
mod rendered;
mod rights;
mod strict;
mod values;
