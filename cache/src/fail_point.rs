//! Places where a test can make the program die, or an operation fail; nothing outside of tests.
//!
//! What is set holds for the thread that set it, so that tests run side by side.

/// Before or after a change to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

#[cfg(not(test))]
pub use off::reach;
#[cfg(test)]
pub use on::{Then, arm, disarm, reach, trace};

#[cfg(not(test))]
mod off {
    /// Goes on.
    #[inline(always)]
    pub fn reach(_name: &'static str, _side: super::Side) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod on {
    use std::cell::{Cell, RefCell};
    use std::io;

    use super::Side;

    /// What happens at the point that was set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Then {
        /// The process dies, as by `kill -9`: nothing is cleaned up.
        Die,
        /// The operation fails, as on a full disk. Later ones go on.
        Fail,
    }

    thread_local! {
        static ARMED: Cell<Option<(usize, Then)>> = const { Cell::new(None) };
        static TRACE: RefCell<Vec<(&'static str, Side)>> = const { RefCell::new(Vec::new()) };
    }

    /// Does `then` at the point `countdown` points from here, on this thread.
    pub fn arm(countdown: usize, then: Then) {
        ARMED.set(Some((countdown, then)));
    }

    /// Takes back what was set, if it did not happen.
    pub fn disarm() {
        ARMED.set(None);
    }

    /// The points that `run` reaches, in order.
    pub fn trace(run: impl FnOnce()) -> Vec<(&'static str, Side)> {
        TRACE.take();
        run();
        TRACE.take()
    }

    /// Says that a point is reached.
    pub fn reach(name: &'static str, side: Side) -> io::Result<()> {
        TRACE.with_borrow_mut(|trace| trace.push((name, side)));
        match ARMED.get() {
            None => Ok(()),
            Some((0, Then::Die)) => std::process::abort(),
            Some((0, Then::Fail)) => {
                ARMED.set(None);
                Err(io::ErrorKind::StorageFull.into())
            }
            Some((countdown, then)) => {
                ARMED.set(Some((countdown - 1, then)));
                Ok(())
            }
        }
    }
}
