//! The text whose digest is an action's key.
