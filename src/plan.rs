//! What is there, what is missing, and why.
