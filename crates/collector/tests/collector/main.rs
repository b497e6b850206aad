//! A collector from outside: reports over HTTP, and what a client is told.

mod hostile;
mod submit;
mod support;
