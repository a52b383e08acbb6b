//! What each server offers, and what a route makes of it.

pub mod item;
pub mod merge;
mod naming;
pub mod pages;
pub mod view;
