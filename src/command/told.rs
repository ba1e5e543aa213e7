//! What a program says in lines it prints.

use ablate_stage::Progress;

/// What a line begins with that tells how far a program is.
const PREFIX: &str = "ablate:";

/// How far a program says it is: `ablate: 3/10 epoch loss=0.52 samples/s=410`, with any unit and values, or none. None where a line
/// says something else.
pub fn progress(line: &str) -> Option<Progress> {
    let mut words = line.strip_prefix(PREFIX)?.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    let (done, total) = words.next()?.split_once('/')?;
    let mut progress = Progress::of(done.parse().ok()?, total.parse().ok()?, "");
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => progress = progress.with(name, value.parse().ok()?),
            None if progress.unit.is_empty() => progress.unit = word.to_owned(),
            None => return None,
        }
    }
    if progress.unit.is_empty() {
        progress.unit = "step".to_owned();
    }
    (progress.done <= progress.total).then_some(progress)
}

/// What a terminal shows of a line in the end: a carriage return begins it anew.
pub fn last_written(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_end();
    line.rsplit(|&byte| byte == b'\r').next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_a_program_is() {
        let found = progress("ablate: 3/10 epoch loss=0.52, samples/s=410 gap=nan").unwrap();
        assert_eq!(found, Progress::of(3, 10, "epoch").with("loss", 0.52).with("samples/s", 410.0));
        assert_eq!(progress("ablate:3/3"), Some(Progress::of(3, 3, "step")));
        for other in [
            "3/10",
            "ablate: hello",
            "ablate: 3",
            "ablate: 4/3",
            "ablate: 1/3 a b",
            "ablate: 1/3 loss=low",
            "ablate: -1/3",
        ] {
            assert_eq!(progress(other), None, "{other}");
        }
    }

    #[test]
    fn a_carriage_return_begins_a_line_anew() {
        let shown = [&b"  1%\r 50%\r100%"[..], b"plain\r\n", b"\r\n", b""].map(last_written);
        assert_eq!(shown, [&b"100%"[..], b"plain", b"", b""]);
    }
}
