//! Pictures that stages drew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::shown;

/// A picture, whole in the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Whose.
    pub title: String,
    /// PNG.
    pub png: Vec<u8>,
}

impl Picture {
    /// As a `figure` element.
    pub fn to_html(&self) -> String {
        let title = shown(&self.title);
        let data = STANDARD.encode(&self.png);
        format!(
            "<figure class=\"picture\"><figcaption>{title}</figcaption>\n\
             <img alt=\"{title}\" src=\"data:image/png;base64,{data}\"></figure>\n"
        )
    }
}
