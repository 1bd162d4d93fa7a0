//! The cluster from outside: over HTTP and WebSockets by a client of its own, and by a real `kubectl`.

mod client;
mod exec;
mod faults;
mod kubectl;
mod lifecycle;
mod objects;
