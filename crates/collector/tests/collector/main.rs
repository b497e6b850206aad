//! A collector from outside: reports over HTTP, and what a client is told.

mod disk;
mod hostile;
mod submit;
mod support;
