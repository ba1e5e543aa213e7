//! What is known of the sizes of images before any is looked at.

/// Sizes images may have: at least `height`×`width` pixels, and exactly that where it is `exact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Least height.
    pub height: usize,
    /// Least width.
    pub width: usize,
    /// Whether every image has this height and width.
    pub exact: bool,
}

impl Extent {
    /// Every image has this size.
    pub const fn exactly(height: usize, width: usize) -> Self {
        Self { height, width, exact: true }
    }

    /// Images have this size or are larger.
    pub const fn at_least(height: usize, width: usize) -> Self {
        Self { height, width, exact: false }
    }
}
