//! Objects in, snapshots and statuses out: pure, total and deterministic.
