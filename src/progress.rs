//! Progress on a terminal and in a pipe.
