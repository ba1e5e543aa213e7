//! Quantities in words.

use crate::journal::timestamp;

/// `2026-11-21 14:49:32` in UTC.
pub fn date(unix_ms: u64) -> String {
    let text = timestamp(unix_ms);
    let (day, time) = text.split_once('T').expect("a time stamp has a T");
    let split = |text: &str, mark: char| -> String {
        let (last, first) = (text.len() - 2, text.len() - 4);
        format!("{}{mark}{}{mark}{}", &text[..first], &text[first..last], &text[last..])
    };
    format!("{} {}", split(day, '-'), split(&time[..6], ':'))
}

/// `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().expect("there are units");
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_told_in_words() {
        assert_eq!(date(1_795_272_572_123), "2026-11-21 14:49:32");
        let told = [0, 1023, 1024, 1536, 5 << 20, 3 << 40].map(bytes);
        assert_eq!(told, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 TiB"]);
    }
}
