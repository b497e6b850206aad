//! One file a command.

mod check;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod doctor;
pub(crate) mod erase;
pub(crate) mod expire;
pub(crate) mod migrate;
pub(crate) mod process;
pub(crate) mod roles;
pub(crate) mod signature;
pub(crate) mod sql;
pub(crate) mod stackwalk;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod submit;
pub(crate) mod symbols;
pub(crate) mod whereabouts;
