//! Runs what a plan lacks.
