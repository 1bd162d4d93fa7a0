//! placeholder
mod inquest;
mod keeper;
mod ledger;
#[cfg(test)]
mod model;
mod protocol;
