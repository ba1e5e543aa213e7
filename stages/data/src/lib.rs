//! ablate.
