//! Tests of the backend against the development cluster.
