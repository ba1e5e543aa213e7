//! What happened in a run, in order.
