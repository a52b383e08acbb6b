//! What the binaries do, beyond parsing their arguments.
