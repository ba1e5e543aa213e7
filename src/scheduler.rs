//! Which action starts next: pure state, events in, effects out.
