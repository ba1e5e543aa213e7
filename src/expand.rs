//! From a pipeline to its graph of instances.
