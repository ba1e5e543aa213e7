//! What needs the fail points: dying and failing at every change to the disk.

mod child;
mod crash;
mod model;
