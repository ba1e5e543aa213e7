//! Results as rows, one a trial.
