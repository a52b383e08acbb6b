//! The chart as people install it.

use crate::cluster::helm;
use std::sync::OnceLock;

/// The release, and where it is.
pub const RELEASE: &str = "mcp-gateway-operator";
pub const NAMESPACE: &str = "mcp-system";

/// The operator's service account, as the API server names it.
pub const ACCOUNT: &str = "system:serviceaccount:mcp-system:mcp-operator";

/// How long Helm waits for the operator's pods.
const TIMEOUT: &str = "120s";

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/mcp-gateway-operator");

/// Has the chart installed with its defaults, once for all tests of this process; one that is there already is made so.
pub fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| install(NAMESPACE, &[]));
}

/// Installs the chart, with more arguments for Helm, and waits until the operator is ready.
pub fn install(namespace: &str, arguments: &[&str]) {
    let common = [
        "upgrade",
        "--install",
        RELEASE,
        CHART,
        "--namespace",
        namespace,
        "--create-namespace",
        "--wait",
        "--timeout",
        TIMEOUT,
    ];
    helm(&[&common, arguments].concat());
}

/// Uninstalls it, and waits until all of it is gone.
pub fn uninstall(namespace: &str) {
    helm(&["uninstall", RELEASE, "--namespace", namespace, "--wait", "--timeout", TIMEOUT]);
}

/// Runs the chart's own tests. They print what they find; their pod and its log are gone then.
pub fn test(namespace: &str) -> String {
    helm(&["test", RELEASE, "--namespace", namespace, "--timeout", TIMEOUT])
}
