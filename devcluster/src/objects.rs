//! The objects of the cluster: their kinds, defaults and times, the store that keeps them, and the errors about them.

pub(crate) mod defaults;
pub(crate) mod kinds;
pub(crate) mod pulse;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod time;
