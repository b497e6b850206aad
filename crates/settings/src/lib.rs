//! The configuration of every role: one TOML file, a section a crate, and the environment laid over it.
//!
//! Each crate declares a `Config` of plain serde types and of the values defined here ([`Duration`], [`Size`],
//! [`Portion`], [`Secret`], [`ServiceUrl`]); [`load`] fills it and [`show`] prints it. This crate must not know any section:
//! what a key means, and whether its value makes sense, is the business of the crate that owns it.
//!
//! Two rules shape the code. Whatever is wrong is named with its place (file, line and column, or the variable)
//! and its key. And a secret never stands in the configuration file: it comes from the environment, or from a
//! file of its own that is named by `<key>_file`.
//!
//! Start reading at [`load`]; `tree` holds what was read and from where, `reader` hands it to serde.

mod duration;
mod error;
mod load;
mod portion;
mod reader;
mod secret;
mod service_url;
mod show;
mod size;
mod tree;

pub use duration::{Duration, InvalidDuration};
pub use error::Error;
pub use load::{DEFAULT_PATH, environment, load};
pub use portion::{InvalidPortion, Portion};
pub use secret::Secret;
pub use service_url::{InvalidServiceUrl, ServiceUrl};
pub use show::show;
pub use size::{InvalidSize, Size};
