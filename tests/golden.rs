//! Golden cases of translation: `tests/golden/<case>/in.yaml` gives `out.yaml`.
//!
//! `in.yaml` holds manifests as people write them, and at most one document with what else a world has: `mode`,
//! `facts`, `unreadablePolicies`, `generate`. It is read strictly. `out.yaml` holds the plan; some cases also have
//! `objects.yaml`, with what the operator deploys of it. `UPDATE_GOLDEN=1 cargo test --test golden` rewrites the outputs;
//! read the difference before you commit it.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "golden/support/mod.rs"]
mod support;

#[path = "golden/worlds.rs"]
mod worlds;

#[path = "golden/properties.rs"]
mod properties;

#[cfg(feature = "operator")]
#[path = "golden/objects.rs"]
mod objects;

#[cfg(feature = "operator")]
#[path = "golden/reach.rs"]
mod reach;

#[cfg(feature = "operator")]
#[path = "golden/paths.rs"]
mod paths;

#[cfg(feature = "operator")]
#[path = "golden/overlays.rs"]
mod overlays;

#[cfg(feature = "operator")]
#[path = "golden/restricted.rs"]
mod restricted;

use mcp_gateway_operator::api::conditions::Reason;
use std::collections::BTreeSet;
use std::path::Path;
use support::{Case, cases};

/// What the issue asks for, at least.
const CASES: usize = 40;

/// Reasons that need a report from the data plane, or the time: the publisher's, never a plan's.
const PUBLISHERS: &[Reason] = &[
    Reason::Programmed,
    Reason::Ready,
    Reason::Available,
    Reason::Verified,
    Reason::PrimaryActive,
    Reason::CatalogComplete,
    Reason::Pending,
    Reason::NotAttached,
    Reason::NoEndpoints,
    Reason::FailedOver,
    Reason::Unavailable,
    Reason::NameConflict,
    Reason::NoPods,
    Reason::ReplicaFailure,
    Reason::PodsNotScheduled,
    Reason::ImagePullFailed,
    Reason::ContainersNotCreated,
    Reason::ContainersCrashing,
    Reason::PodsStarting,
    Reason::GenerationRefused,
    Reason::ReplicasOutdated,
    Reason::ChannelUnreachable,
    Reason::ObjectConflict,
    Reason::PodTemplateInvalid,
    Reason::Forbidden,
    Reason::TooLarge,
    Reason::ApplyFailed,
    Reason::Paused,
];

#[test]
fn every_case_gives_its_golden_plan() {
    let rewrite = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut failures = Vec::new();
    for case in cases() {
        let found = case.plan_as_yaml();
        if rewrite {
            std::fs::write(case.directory.join("out.yaml"), &found).unwrap();
        } else if let Some(difference) = difference("out.yaml", &case.golden(), &found) {
            failures.push(format!("{}: {difference}", case.name()));
        }
    }
    assert!(failures.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites the golden plans", failures.join("\n"));
}

/// The first line in which two texts differ.
fn difference(file: &str, golden: &str, found: &str) -> Option<String> {
    let line = |text: &str, index| text.lines().nth(index).unwrap_or("(end)").to_owned();
    let lines = golden.lines().count().max(found.lines().count());
    (0..lines)
        .find(|&index| line(golden, index) != line(found, index))
        .map(|index| format!("{file}:{}: golden {:?}, found {:?}", index + 1, line(golden, index), line(found, index)))
}

#[test]
fn every_reason_of_translation_has_a_case() {
    let goldens: String = cases().iter().map(Case::golden).collect();
    let told: BTreeSet<&str> = goldens.lines().filter_map(|line| line.trim().strip_prefix("reason: ")).collect();
    for reason in Reason::ALL {
        let is_told = told.contains(reason.as_str());
        assert_eq!(
            is_told,
            !PUBLISHERS.contains(reason),
            "{reason}: a reason of translation needs a case; a publisher's has none"
        );
    }
}

#[test]
fn there_are_enough_cases_and_each_says_what_it_shows() {
    let cases = cases();
    assert!(cases.len() >= CASES, "{} cases", cases.len());
    for case in cases {
        let first = case.input().lines().next().unwrap_or_default().to_owned();
        assert!(
            first.starts_with("# "),
            "{}: in.yaml begins with a comment that says what the case shows",
            case.name()
        );
    }
}

#[test]
fn no_golden_plan_is_left_over() {
    for entry in std::fs::read_dir(Path::new(support::DIRECTORY)).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.join("out.yaml").exists() || path.join("in.yaml").exists(), "{} has no in.yaml", path.display());
    }
}
