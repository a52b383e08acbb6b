//! The admin port: health, readiness, metrics, status.
