//! Worlds for tests, as people write them.

use crate::translate::Inputs;
use crate::translate::manifests::parse;

/// The world of these manifests.
pub(super) fn inputs(text: &str) -> Inputs {
    let (manifests, errors) = parse("f.yaml", text);
    assert!(errors.is_empty(), "{errors:?}");
    let mut inputs = Inputs::default();
    for manifest in manifests {
        inputs.insert(manifest).unwrap();
    }
    inputs
}
