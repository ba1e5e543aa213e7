//! The process that performs actions.
