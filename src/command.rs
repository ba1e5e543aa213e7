//! `Command`: any program as a stage.
