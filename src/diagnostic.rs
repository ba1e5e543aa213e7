//! What is wrong with a pipeline, and where.
