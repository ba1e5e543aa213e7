//! ablate.
fn main() {}
