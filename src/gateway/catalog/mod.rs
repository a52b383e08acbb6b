//! What each server offers, and what a route makes of it.
